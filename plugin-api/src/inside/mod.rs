//! What lives inside an image and ties it to the host instead of to the process: the replaced libc symbols, the panic hook,
//! what is logged, and the allocator. In the host's own copy of this crate nothing here is ever installed.

pub mod libc_symbols;
pub(crate) mod logs;
pub mod memory;
mod panic_hook;
pub mod stack;

use crate::{root::HostTableRef, text::cut};
use std::{
    any::Any,
    borrow::Cow,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

#[derive(Clone, Copy)]
struct Installed {
    table: HostTableRef,
    token: Token,
}

/// The host's name for this image; never dereferenced here.
#[derive(Clone, Copy)]
struct Token(*const ());

// SAFETY: the token is a number to this side, and the host may be handed it from any thread.
unsafe impl Send for Token {}
// SAFETY: as above.
unsafe impl Sync for Token {}

/// Requests that went to libc because they came before the host's functions, and that libc would act upon after the image was
/// unmapped: keys with a destructor, and threads.
static EARLY: AtomicUsize = AtomicUsize::new(0);

/// Each image has its own copy of this static, which is the point.
static HOST: OnceLock<Installed> = OnceLock::new();

/// Takes the host's functions, before anything else in this image has run, and routes panics to the host.
///
/// Answers how much libc was asked for before, by static constructors, that ties the image to it.
pub(crate) fn install(table: HostTableRef, token: *const ()) -> usize {
    let token = Token(token);
    if HOST.set(Installed { table, token }).is_ok() {
        panic_hook::install();
    }
    EARLY.load(Ordering::Relaxed)
}

/// Tells the host how a panic ended that was contained just now: before its payload is dropped, which may panic again.
#[cold]
pub(crate) fn contained(payload: &(dyn Any + Send), own_thread: bool) {
    let Some((table, token)) = host() else { return };
    // An older host has no function for it.
    let Some(function) = table.contained() else { return };
    let message = cut(words_of(payload));
    // SAFETY: table and token are the host's own, valid while this image is mapped; the message lives for the call.
    unsafe { function(token, (&*message).into(), own_thread) };
}

/// The words that a panic was raised with. They may be very long.
fn words_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .or_else(|| payload.downcast_ref::<Box<str>>().map(|text| &**text))
        .or_else(|| payload.downcast_ref::<Cow<'static, str>>().map(|text| &**text))
        .unwrap_or("a panic whose payload is no text, but a value of a type that is not known here")
}

pub(crate) fn host() -> Option<(HostTableRef, *const ())> {
    HOST.get().map(|installed| (installed.table, installed.token.0))
}
