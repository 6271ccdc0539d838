//! The image's panic hook, and the one for linked plugins, which runs before the program's own. It passes the message and
//! raw addresses of a panic to the host, which looks up the names: a backtrace with names that is taken inside an image
//! leaves 31 to 36 MB behind, the symbol cache of its copy of std.

use crate::{attachment::Services, panic_payload, root::PanicRecord, text::cut};
use std::{
    ffi::{c_int, c_void},
    panic::PanicHookInfo,
    sync::Once,
};

const MOST_FRAMES: usize = 128;

/// Installs the hook in the image of a loaded plugin.
pub(super) fn install() {
    std::panic::set_hook(Box::new(report_to_host));
}

/// Installs the hook in a program with linked plugins. Each panic still goes to the former hook.
pub(crate) fn put_in_front() {
    static DONE: Once = Once::new();
    // std does not allow changing the hook while the thread panics. The next attachment will install it.
    if std::thread::panicking() {
        return;
    }
    DONE.call_once(|| {
        let programs_own = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            report_to_host(info);
            programs_own(info);
        }));
    });
}

/// Does nothing if the thread runs no plugin's code.
fn report_to_host(info: &PanicHookInfo<'_>) {
    let Some(Services { table, token }) = super::services() else {
        return;
    };
    let message = cut(panic_payload::text_of(info.payload()));
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let mut frames = Frames {
        addresses: [0; MOST_FRAMES],
        len: 0,
    };
    // SAFETY: the unwinder calls back synchronously with the pointer given to it, on this stack.
    unsafe { _Unwind_Backtrace(push_frame, (&raw mut frames).cast()) };
    let record = PanicRecord {
        message: (&*message).into(),
        location: location.as_str().into(),
        addresses: frames.addresses[..frames.len].into(),
    };
    // SAFETY: table and token are the host's own, see `services`; the record lives for the call.
    unsafe { table.panicked()(token, &record) };
}

struct Frames {
    addresses: [usize; MOST_FRAMES],
    len: usize,
}

extern "C" fn push_frame(context: *mut c_void, frames: *mut c_void) -> c_int {
    // SAFETY: `frames` is what `report_to_host` passed, alive and not otherwise borrowed during the walk.
    let frames = unsafe { &mut *frames.cast::<Frames>() };
    // SAFETY: `context` is the unwinder's own.
    let address = unsafe { _Unwind_GetIP(context) };
    if address == 0 || frames.len == MOST_FRAMES {
        return 5; // _URC_END_OF_STACK
    }
    frames.addresses[frames.len] = address;
    frames.len += 1;
    0
}

unsafe extern "C" {
    fn _Unwind_Backtrace(callback: extern "C" fn(*mut c_void, *mut c_void) -> c_int, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
}
