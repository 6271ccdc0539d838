//! The exports of the module.

use super::{
    ABI, Arguments, Hook, HookOutcome, host,
    host::{LENT, ToHost},
    logs,
    message::Message,
};
use crate::{
    exports::Header,
    interface::{INSTANCE, code, dispatch_instance},
    panic_payload,
};
use std::{
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, catch_unwind},
    ptr,
};

unsafe extern "C" {
    /// What `export_plugin!` defines in the plugin's crate.
    #[allow(improper_ctypes)]
    safe static reslot_root: Header;
}

thread_local! {
    static OBJECT: Cell<*mut ()> = const { Cell::new(ptr::null_mut()) };
    /// The last result.
    static RESULT: RefCell<Message> = const { RefCell::new(Message::new()) };
    /// Room for the requests of nested calls, by their depth.
    static ROOMS: RefCell<Vec<Message>> = const { RefCell::new(Vec::new()) };
}

/// How many calls may be nested.
const MAX_DEPTH: usize = 1024;

#[unsafe(no_mangle)]
extern "C" fn reslot_abi() -> u32 {
    ABI
}

#[unsafe(no_mangle)]
extern "C" fn reslot_log_level(level: u32) {
    logs::set_level(level.min(5) as u8);
}

#[unsafe(no_mangle)]
extern "C" fn reslot_room(depth: usize, len: usize) -> *mut u8 {
    if depth >= MAX_DEPTH {
        return ptr::null_mut();
    }
    ROOMS.with_borrow_mut(|rooms| {
        if rooms.len() <= depth {
            rooms.resize_with(depth + 1, Message::default);
        }
        match rooms[depth].reserve(len.max(1)) {
            true => rooms[depth].as_mut_ptr(),
            false => ptr::null_mut(),
        }
    })
}

/// # Safety
/// The request lies in room that `reslot_room` has given, and nothing changes it during the call.
#[unsafe(no_mangle)]
unsafe extern "C" fn reslot_call(target: u64, method: u32, request: *const u8, len: usize) -> u64 {
    // SAFETY: the caller's promise.
    let request = unsafe { slice(request, len) };
    let mut reply = RESULT.take();
    reply.clear();
    let (code, _) = match target {
        INSTANCE if OBJECT.get().is_null() => (code::FAILED, None),
        INSTANCE => {
            let object = (OBJECT.get(), reslot_root.table);
            // SAFETY: the object lives until `Destroy`, and belongs to the table; the host calls methods with `&mut self` alone.
            unsafe { dispatch_instance(&(reslot_root.marshalling)(), object, method, request, &mut reply, &ToHost) }
        }
        handle => LENT.with(|lent| lent.serve(handle, method, request, &mut reply, &ToHost)),
    };
    let result = reply.result(code);
    RESULT.set(reply);
    result
}

/// # Safety
/// As for [`reslot_call`].
#[unsafe(no_mangle)]
unsafe extern "C" fn reslot_hook(hook: u32, first: u32, second: u32, request: *const u8, len: usize) -> u64 {
    // SAFETY: the caller's promise.
    let request = unsafe { slice(request, len) };
    let mut reply = RESULT.take();
    reply.clear();
    let outcome = match (Hook::of(hook), Arguments::decode(request)) {
        (Some(Hook::Create), Some(_)) if OBJECT.get().is_null() => create(&mut reply),
        (Some(hook), Some(arguments)) if hook != Hook::Create && !OBJECT.get().is_null() => {
            // SAFETY: the object lives until `Destroy`; the host calls hooks that change it alone.
            let outcome = unsafe { (reslot_root.hook)(hook, OBJECT.get(), (first, second), arguments) };
            if hook == Hook::Destroy {
                OBJECT.set(ptr::null_mut());
            }
            put(outcome, &mut reply)
        }
        _ => HookOutcome::Invalid,
    };
    let result = reply.result(outcome as u32);
    RESULT.set(reply);
    result
}

fn create(reply: &mut Message) -> HookOutcome {
    panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        host::panicked(panic_payload::text_of(info.payload()), &location);
    }));
    match catch_unwind(AssertUnwindSafe(|| (reslot_root.create)())) {
        Ok(object) => {
            OBJECT.set(object);
            HookOutcome::Done
        }
        Err(payload) => {
            crate::inside::contained(&*payload, false);
            panic_payload::discard(payload);
            put((HookOutcome::Panicked, Vec::new()), reply)
        }
    }
}

fn put((outcome, bytes): (HookOutcome, Vec<u8>), reply: &mut Message) -> HookOutcome {
    match reply.set(&bytes) {
        true => outcome,
        false => HookOutcome::Invalid,
    }
}

/// # Safety
/// So many bytes must be valid there, and not change as long as the slice is used.
unsafe fn slice<'a>(address: *const u8, len: usize) -> &'a [u8] {
    match len {
        0 => &[],
        // SAFETY: the caller's promise.
        len => unsafe { std::slice::from_raw_parts(address, len) },
    }
}
