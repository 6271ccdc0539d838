//! The image's panic hook. A panic is told to the host as words and raw addresses, and symbolised there: one symbolised
//! backtrace taken inside an image leaves 31 to 36 MB behind, the private symbol cache of its copy of std.

use crate::{root::PanicRecord, text::cut};
use std::{
    ffi::{c_int, c_void},
    panic::PanicHookInfo,
};

const MOST_FRAMES: usize = 128;

pub(super) fn install() {
    std::panic::set_hook(Box::new(tell_host));
}

fn tell_host(info: &PanicHookInfo<'_>) {
    let Some((table, token)) = super::host() else { return };
    let message = cut(super::words_of(info.payload()));
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
    // SAFETY: table and token are the host's own, valid while this image is mapped; the record lives for the call.
    unsafe { table.panicked()(token, &record) };
}

struct Frames {
    addresses: [usize; MOST_FRAMES],
    len: usize,
}

extern "C" fn push_frame(context: *mut c_void, frames: *mut c_void) -> c_int {
    // SAFETY: `frames` is what `tell_host` passed, alive and not otherwise borrowed during the walk.
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
