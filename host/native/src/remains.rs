//! What an image leaves on the heap: how much, and freeing it once the image is gone, if the plugin asked for that. How the image
//! keeps its account is `reslot_plugin_api`'s `inside::memory`.
//!
//! # Why this is sound
//! Blocks are freed when nothing can use them any more: `take` is called when no code of the image runs but its static
//! destructors, to come, and `free` when the image is proven unmapped. Between the two those destructors may free blocks and
//! allocate others; the table lies outside of the image and says so. A plugin that asks for it (`allocator = freeing`) promises
//! that nothing else keeps pointers into its memory; the host keeps none.

use super::open::Image;
use reslot_plugin_api::__private::{Registry, give_back};
use std::{ffi::c_void, mem::transmute};

type Free = unsafe extern "C" fn(*mut c_void);

/// What an image has left, as it was when it was about to be closed.
#[derive(Default)]
pub(super) struct Remains {
    pub(super) live_bytes: Option<u64>,
    table: Option<(*const Registry, Free)>,
}

/// What was freed.
#[derive(Default)]
pub(super) struct Freed {
    pub(super) bytes: u64,
    pub(super) blocks: u64,
}

impl Remains {
    /// Asks the image, which nobody calls any more and which is still mapped.
    pub(super) fn take(image: &Image) -> Self {
        let told = image.root().remains()();
        // A plugin with a `free` of its own, linked into it, takes it away with it: nothing can be freed then.
        let freeable = !told.registry.is_null() && !told.free.is_null() && !image.mapped.range.contains(&told.free.addr());
        let table = freeable.then(|| {
            // SAFETY: the image names libc's `free`, or what the process has in its place, which has this signature.
            let free = unsafe { transmute::<*const (), Free>(told.free) };
            (told.registry.cast(), free)
        });
        Self {
            live_bytes: image.root().live_bytes()().into_option(),
            table,
        }
    }

    /// Frees it, once.
    ///
    /// # Safety
    /// The image must be proven unmapped.
    pub(super) unsafe fn free(&mut self) -> Freed {
        let Some((registry, free)) = self.table.take() else {
            return Freed::default();
        };
        // SAFETY: the table is the image's, which is gone, by the caller's promise; it is taken out, so this happens once.
        let (bytes, blocks) = unsafe { give_back(registry, free) };
        Freed { bytes, blocks }
    }
}
