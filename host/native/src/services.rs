//! The host's functions that stand in for libc's inside an image: the other end of `reslot_plugin_api`'s `inside`. Each finds
//! the image's ledger by its token and writes there.
//!
//! # Safety
//! The token of an image is the address of its ledger, which the image's owner keeps until the image is proven unmapped, and
//! for ever if it never is. So whoever can call in here with a token, code of that image, finds its ledger alive.

mod logs;

use super::{
    panics,
    resources::{Destructor, ImageResources, begin_own_thread},
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
    peer_find: peers::find::<ImageResources>,
    peer_load: peers::load::<ImageResources>,
    peer_release: peers::release::<ImageResources>,
    peer_pass: peers::pass::<ImageResources>,
    peer_fault: peers::fault::<ImageResources>,
    peer_absent: peers::absent::<ImageResources>,
    log_record: logs::record,
    log_span: logs::span,
    contained,
});

/// The table that an image gets.
pub(super) const TABLE: HostTableRef = HostTableRef(META.static_as_prefix());

/// An image's name for its ledger.
pub(super) fn token(resources: &Arc<ImageResources>) -> *const () {
    Arc::as_ptr(resources).cast()
}

/// # Safety
/// `token` must be a token of a living ledger, see the module.
unsafe fn resources(token: *const ()) -> Arc<ImageResources> {
    let resources = token.cast::<ImageResources>();
    // SAFETY: the caller's promise; the count is raised first, so the image's owner keeps its own.
    unsafe {
        Arc::increment_strong_count(resources);
        Arc::from_raw(resources)
    }
}

unsafe extern "C" fn thread_atexit(token: *const (), destructor: *const (), object: *mut ()) -> i32 {
    // SAFETY: called from the image; std and the C++ runtime pass a destructor of this signature.
    let (resources, destructor) = unsafe { (resources(token), transmute::<*const (), Destructor>(destructor)) };
    resources.add_destructor(destructor, object.cast());
    0
}

unsafe extern "C" fn key_create(token: *const (), key: *mut u32, destructor: *const ()) -> i32 {
    // SAFETY: called from the image; a null destructor is none, any other has this signature.
    let (resources, destructor) = unsafe { (resources(token), transmute::<*const (), Option<Destructor>>(destructor)) };
    // SAFETY: pthread_key_create's caller passes room for a key.
    unsafe { key.write(resources.create_key(destructor)) };
    0
}

unsafe extern "C" fn key_delete(token: *const (), key: u32) -> i32 {
    // SAFETY: called from the image.
    match unsafe { resources(token) }.delete_key(key) {
        true => 0,
        false => libc::EINVAL,
    }
}

unsafe extern "C" fn set_specific(token: *const (), key: u32, value: *const ()) -> i32 {
    // SAFETY: called from the image.
    match unsafe { resources(token) }.set_value(key, value.cast_mut().cast()) {
        true => 0,
        false => libc::EINVAL,
    }
}

unsafe extern "C" fn get_specific(token: *const (), key: u32) -> *mut () {
    // SAFETY: called from the image.
    unsafe { resources(token) }.value(key).cast()
}

type Body = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// What a thread of an image begins with.
struct Start {
    resources: Arc<ImageResources>,
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
    let (resources, body) = unsafe { (resources(token), transmute::<*const (), Body>(start)) };
    // Counted before it exists: between here and its first instruction the image must not go.
    let Some(number) = resources.thread_starts() else {
        return libc::EAGAIN;
    };
    let start = Box::into_raw(Box::new(Start {
        resources: resources.clone(),
        thread: number,
        body,
        argument: argument.cast(),
    }));
    // SAFETY: the two signatures differ only in whether a forced unwind (pthread_exit) may pass, which libc expects.
    let first = unsafe { transmute::<Body, extern "C" fn(*mut c_void) -> *mut c_void>(trampoline) };
    // SAFETY: thread and attributes are pthread_create's caller's; the trampoline takes the box.
    let error = unsafe { libc::pthread_create(thread.cast(), attributes.cast(), first, start.cast()) };
    if error != 0 {
        // SAFETY: no thread was made, so the box is still ours.
        drop(unsafe { Box::from_raw(start) });
        resources.thread_ended(number);
    }
    error
}

/// The first frame of every thread of an image. It is the host's code, and it owns nothing while the body runs, so that
/// `pthread_exit` may unwind through it; what is to be done at the end is a thread-local's drop.
extern "C-unwind" fn trampoline(start: *mut c_void) -> *mut c_void {
    let (body, argument) = {
        // SAFETY: made by `thread_create` for this thread.
        let start = *unsafe { Box::from_raw(start.cast::<Start>()) };
        begin_own_thread(start.resources, start.thread);
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
    // Anonymous memory is the plugin's heap by another name; only mappings of files look like libraries that stayed.
    if mapped != libc::MAP_FAILED && file >= 0 {
        // SAFETY: called from the image.
        unsafe { resources(token) }.mapped(mapped.addr(), len);
    }
    mapped.cast()
}

unsafe extern "C" fn unmap(token: *const (), address: *mut (), len: usize) -> i32 {
    // SAFETY: called from the image.
    unsafe { resources(token) }.unmapped(address.addr(), len);
    // SAFETY: the image's arguments, unchanged.
    unsafe { libc::munmap(address.cast(), len) }
}

unsafe extern "C" fn panicked(token: *const (), record: &PanicRecord<'_>) {
    // SAFETY: called from the image.
    let resources = unsafe { resources(token) };
    resources.panicked(panics::report_of(resources.id(), record));
}

unsafe extern "C" fn contained(token: *const (), message: RStr<'_>, own_thread: bool) {
    // SAFETY: called from the image.
    unsafe { resources(token) }.contained(&message, own_thread);
}
