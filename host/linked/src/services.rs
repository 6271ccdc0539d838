//! The host's functions that a linked plugin calls: those for peers and those that report panics.
//!
//! # Safety
//! The token of an attachment is the address of its [`Attached`], which the plugin's side keeps alive as long as it may call.

use crate::attached::Attached;
use reslot_engine::{panics::PanicReport, peers};
use reslot_plugin_api::__private::{HostTable, HostTableRef, LogRecord, LogValue, PanicRecord, RSlice, RStr, WithMetadata};

/// A function that a linked plugin never calls, because it has the program's own libc and logger. It answers what stands for "no".
macro_rules! never_asked {
    (fn($($argument:ty),*) -> $answer:ty, $no:expr) => {{
        unsafe extern "C" fn never_asked($(_: $argument),*) -> $answer {
            $no
        }
        never_asked
    }};
}

const META: &WithMetadata<HostTable> = &WithMetadata::new(HostTable {
    thread_atexit: never_asked!(fn(*const (), *const (), *mut ()) -> i32, libc::ENOSYS),
    key_create: never_asked!(fn(*const (), *mut u32, *const ()) -> i32, libc::ENOSYS),
    key_delete: never_asked!(fn(*const (), u32) -> i32, libc::ENOSYS),
    set_specific: never_asked!(fn(*const (), u32, *const ()) -> i32, libc::ENOSYS),
    get_specific: never_asked!(fn(*const (), u32) -> *mut (), std::ptr::null_mut()),
    thread_create: never_asked!(fn(*const (), *mut (), *const (), *const (), *mut ()) -> i32, libc::ENOSYS),
    map: never_asked!(
        fn(*const (), *mut (), usize, i32, i32, i32, i64) -> *mut (),
        libc::MAP_FAILED.cast()
    ),
    unmap: never_asked!(fn(*const (), *mut (), usize) -> i32, libc::ENOSYS),
    panicked,
    peer_find: peers::find::<Attached>,
    peer_load: peers::load::<Attached>,
    peer_release: peers::release::<Attached>,
    peer_pass: peers::pass::<Attached>,
    peer_fault: peers::fault::<Attached>,
    peer_absent: peers::absent::<Attached>,
    log_record: never_asked!(fn(*const (), &LogRecord<'_>) -> u64, 0),
    log_span: never_asked!(fn(*const (), u64, u8, u64, RSlice<'_, LogValue<'_>>) -> bool, false),
    contained,
});

/// The table that a linked plugin gets.
pub(crate) const TABLE: HostTableRef = HostTableRef(META.static_as_prefix());

/// # Safety
/// `token` must be that of a living attachment, see the module.
unsafe fn attached<'a>(token: *const ()) -> &'a Attached {
    // SAFETY: the caller's promise.
    unsafe { &*token.cast() }
}

unsafe extern "C" fn panicked(token: *const (), record: &PanicRecord<'_>) {
    let backtrace = reslot_native::backtrace_in_program(&record.addresses);
    // SAFETY: called by the plugin.
    unsafe { attached(token) }.panicked(PanicReport::new(&record.message, &record.location, backtrace));
}

unsafe extern "C" fn contained(token: *const (), message: RStr<'_>, own_thread: bool) {
    // SAFETY: called by the plugin.
    unsafe { attached(token) }.contained(&message, own_thread);
}
