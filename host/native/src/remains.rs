//! The heap memory that an image leaves behind: counts it, and frees it after the image is unmapped, if the plugin has asked for that.
//! `inside::memory` of `reslot_plugin_api` records the allocations in a table.
//!
//! # Why this is sound
//! Blocks are freed when nothing can use them any more. `take` runs after all plugin code except the static destructors, which run in
//! `dlclose`. `free` runs after the image is proven unmapped. In between, the static destructors may free and allocate blocks; the table
//! lies outside of the image and records that. A plugin that asks for it (`allocator = freeing`) promises that nothing else keeps
//! pointers into its memory; the host keeps none.

use super::open::Image;
use reslot_plugin_api::__private::{Registry, give_back};
use std::{ffi::c_void, mem::transmute};

type Free = unsafe extern "C" fn(*mut c_void);

/// The heap memory of an image, read just before `dlclose`.
#[derive(Default)]
pub(super) struct Remains {
    pub(super) live_bytes: Option<u64>,
    table: Option<(*const Registry, Free)>,
}

/// How much was freed.
#[derive(Default)]
pub(super) struct Freed {
    pub(super) bytes: u64,
    pub(super) blocks: u64,
}

impl Remains {
    /// Reads the memory from the image. To be called while the image is mapped, after the last call of it.
    pub(super) fn take(image: &Image) -> Self {
        let remains = image.root().remains()();
        // If `free` is part of the image, it is unmapped with it, so nothing can be freed.
        let freeable =
            !remains.registry.is_null() && !remains.free.is_null() && !image.mapped.range.contains(&remains.free.addr());
        let table = freeable.then(|| {
            // SAFETY: the address is that of `free` as the image calls it: libc's, or the process's replacement. Both have this signature.
            let free = unsafe { transmute::<*const (), Free>(remains.free) };
            (remains.registry.cast(), free)
        });
        Self {
            live_bytes: image.root().live_bytes()().into_option(),
            table,
        }
    }

    /// Frees the memory. A second call does nothing.
    ///
    /// # Safety
    /// The image must be proven unmapped.
    pub(super) unsafe fn free(&mut self) -> Freed {
        let Some((registry, free)) = self.table.take() else {
            return Freed::default();
        };
        // SAFETY: the caller promises that the image is unmapped, so nothing uses the blocks. The table is taken out, so this happens once.
        let (bytes, blocks) = unsafe { give_back(registry, free) };
        Freed { bytes, blocks }
    }
}
