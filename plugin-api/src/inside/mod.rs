//! What lives inside an image and ties it to the host instead of to the process: the replaced libc symbols, the panic hook,
//! what is logged, and the allocator. In the host's own copy of this crate nothing of it is ever installed, but for the panic hook if a
//! linked plugin is attached.

pub mod libc_symbols;
pub(crate) mod logs;
pub mod memory;
mod panic_hook;
pub mod stack;

pub(crate) use panic_hook::put_in_front as put_hook_in_front;

use crate::{
    attachment::{self, Services},
    panic_payload,
    root::HostTableRef,
    text::cut,
};
use std::{
    any::Any,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The number of requests that went to libc because they came before the host's functions were installed, and that libc
/// would execute after the image was unmapped: keys with a destructor, and threads.
static EARLY: AtomicUsize = AtomicUsize::new(0);

/// Each image has its own copy of this static, which is the point.
static HOST: OnceLock<Services> = OnceLock::new();

/// Installs the host's functions before other code of this image runs, and routes panics to the host.
///
/// Returns the number of earlier requests by static constructors that tie the image to libc.
pub(crate) fn install(table: HostTableRef, token: *const ()) -> usize {
    if HOST.set(Services { table, token }).is_ok() {
        panic_hook::install();
    }
    EARLY.load(Ordering::Relaxed)
}

/// Reports to the host that a panic was caught. This happens before its payload is dropped, which may panic again.
#[cold]
pub(crate) fn contained(payload: &(dyn Any + Send), own_thread: bool) {
    let Some(Services { table, token }) = services() else {
        return;
    };
    // An older host has no function for it.
    let Some(function) = table.contained() else { return };
    let message = cut(panic_payload::text_of(payload));
    // SAFETY: table and token are the host's own, see `services`; the message lives for the call.
    unsafe { function(token, (&*message).into(), own_thread) };
}

/// The host of this image; none in a program.
#[inline]
pub(crate) fn host() -> Option<Services> {
    HOST.get().copied()
}

/// The host of the plugin whose code the calling thread runs: that of this image, or of a linked plugin. It is valid as long
/// as the image is mapped, or until the thread leaves the plugin's code.
pub(crate) fn services() -> Option<Services> {
    host().or_else(attachment::current_services)
}
