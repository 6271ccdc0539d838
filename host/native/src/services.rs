//! The host's functions that replace libc's inside an image: the other end of `reslot_plugin_api`'s `inside`. Each finds the image's
//! ledger by the image's token, and writes there.
//!
//! # Safety
//! The token of an image is the address of its ledger. `Image` keeps the ledger until the image is proven unmapped, or leaks it with the
//! image. Only code of the image has the token, so the ledger is alive in each of these calls.

mod logs;

use super::{
    panics,
    resources::{Destructor, Ledger, begin_own_thread},
};
use reslot_engine::peers;
use reslot_plugin_api::__private::{HostTable, HostTableRef, PanicRecord, RStr, WithMetadata};
use std::{ffi::c_void, mem::transmute, sync::Arc};

const META: &WithMetadata<HostTable> = &WithMetadata::new(HostTable {
    thread_atexit,
    key_create,
    key_delete,
    set_specific,
    get_specific,
    thread_create,
    map,
    unmap,
    panicked,
    peer_find: peers::find::<Ledger>,
    peer_load: peers::load::<Ledger>,
    peer_release: peers::release::<Ledger>,
    peer_pass: peers::pass::<Ledger>,
    peer_fault: peers::fault::<Ledger>,
    peer_absent: peers::absent::<Ledger>,
    log_record: logs::record,
    log_span: logs::span,
    contained,
});

/// The table that an image gets.
pub(super) const TABLE: HostTableRef = HostTableRef(META.static_as_prefix());

/// The token of an image: the address of its ledger.
pub(super) fn token(ledger: &Arc<Ledger>) -> *const () {
    Arc::as_ptr(ledger).cast()
}

/// # Safety
/// `token` must be the token of a living ledger, see the module.
unsafe fn ledger(token: *const ()) -> Arc<Ledger> {
    let ledger = token.cast::<Ledger>();
    // SAFETY: the caller promises a living ledger. The count is raised first, so that dropping the answer does not take the owner's count.
    unsafe {
        Arc::increment_strong_count(ledger);
        Arc::from_raw(ledger)
    }
}

unsafe extern "C" fn thread_atexit(token: *const (), destructor: *const (), object: *mut ()) -> i32 {
    // SAFETY: called from the image; std and the C++ runtime pass a destructor of this signature.
    let (ledger, destructor) = unsafe { (ledger(token), transmute::<*const (), Destructor>(destructor)) };
    ledger.add_destructor(destructor, object.cast());
    0
}

unsafe extern "C" fn key_create(token: *const (), key: *mut u32, destructor: *const ()) -> i32 {
    // SAFETY: called from the image; a null destructor becomes `None`, any other has this signature.
    let (ledger, destructor) = unsafe { (ledger(token), transmute::<*const (), Option<Destructor>>(destructor)) };
    // SAFETY: the caller of pthread_key_create passes a pointer to a writable key.
    unsafe { key.write(ledger.create_key(destructor)) };
    0
}

unsafe extern "C" fn key_delete(token: *const (), key: u32) -> i32 {
    // SAFETY: called from the image.
    match unsafe { ledger(token) }.delete_key(key) {
        true => 0,
        false => libc::EINVAL,
    }
}

unsafe extern "C" fn set_specific(token: *const (), key: u32, value: *const ()) -> i32 {
    // SAFETY: called from the image.
    match unsafe { ledger(token) }.set_value(key, value.cast_mut().cast()) {
        true => 0,
        false => libc::EINVAL,
    }
}

unsafe extern "C" fn get_specific(token: *const (), key: u32) -> *mut () {
    // SAFETY: called from the image.
    unsafe { ledger(token) }.value(key).cast()
}

type Body = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// The start parameters of a thread of an image.
struct Start {
    ledger: Arc<Ledger>,
    thread: u64,
    body: Body,
    argument: *mut c_void,
}

unsafe extern "C" fn thread_create(
    token: *const (),
    thread: *mut (),
    attributes: *const (),
    start: *const (),
    argument: *mut (),
) -> i32 {
    // SAFETY: called from the image; pthread_create's caller passes a start routine of this signature.
    let (ledger, body) = unsafe { (ledger(token), transmute::<*const (), Body>(start)) };
    // Count the thread before it exists: the image must not be unmapped before the thread's first instruction.
    let Some(number) = ledger.thread_starts() else {
        return libc::EAGAIN;
    };
    let start = Box::into_raw(Box::new(Start {
        ledger: ledger.clone(),
        thread: number,
        body,
        argument: argument.cast(),
    }));
    // SAFETY: the two signatures differ only in whether a forced unwind (pthread_exit) may pass through, and libc expects that.
    let first = unsafe { transmute::<Body, extern "C" fn(*mut c_void) -> *mut c_void>(trampoline) };
    // SAFETY: thread and attributes are those of the caller of pthread_create; the trampoline takes the box.
    let error = unsafe { libc::pthread_create(thread.cast(), attributes.cast(), first, start.cast()) };
    if error != 0 {
        // SAFETY: no thread was started, so nobody else has the box.
        drop(unsafe { Box::from_raw(start) });
        ledger.thread_ended(number);
    }
    error
}

/// The first frame of every thread of an image. It is code of the host, and it owns nothing while the body runs, so `pthread_exit` may
/// unwind through it. The work at the thread's end is done by the drop of a thread-local.
extern "C-unwind" fn trampoline(start: *mut c_void) -> *mut c_void {
    let (body, argument) = {
        // SAFETY: `thread_create` has made the box for this thread alone.
        let start = *unsafe { Box::from_raw(start.cast::<Start>()) };
        begin_own_thread(start.ledger, start.thread);
        (start.body, start.argument)
    };
    body(argument)
}

unsafe extern "C" fn map(
    token: *const (),
    address: *mut (),
    len: usize,
    protection: i32,
    flags: i32,
    file: i32,
    offset: i64,
) -> *mut () {
    // SAFETY: the image's arguments, unchanged.
    let mapped = unsafe { libc::mmap64(address.cast(), len, protection, flags, file, offset) };
    // Anonymous memory is part of the plugin's heap. Only mappings of files are recorded, because they look like libraries that are still
    // mapped.
    if mapped != libc::MAP_FAILED && file >= 0 {
        // SAFETY: called from the image.
        unsafe { ledger(token) }.mapped(mapped.addr(), len);
    }
    mapped.cast()
}

unsafe extern "C" fn unmap(token: *const (), address: *mut (), len: usize) -> i32 {
    // SAFETY: called from the image.
    unsafe { ledger(token) }.unmapped(address.addr(), len);
    // SAFETY: the image's arguments, unchanged.
    unsafe { libc::munmap(address.cast(), len) }
}

unsafe extern "C" fn panicked(token: *const (), record: &PanicRecord<'_>) {
    // SAFETY: called from the image.
    let ledger = unsafe { ledger(token) };
    ledger.panicked(panics::report_of(ledger.id(), record));
}

unsafe extern "C" fn contained(token: *const (), message: RStr<'_>, own_thread: bool) {
    // SAFETY: called from the image.
    unsafe { ledger(token) }.contained(&message, own_thread);
}
