//! The imports, and the way to objects that the host has lent.

use super::message::Message;
use crate::{
    interface::{ActiveLentObjects, Call, ReplyBuffer, Transport},
    marshal::{MarshalError, TransportError},
    text::cut,
};
use std::cell::RefCell;

mod import {
    #[link(wasm_import_module = "reslot")]
    unsafe extern "C" {
        pub(super) fn call(handle: u64, method: u32, request: *const u8, len: usize, reply: *mut u8, capacity: usize)
        -> u64;
        pub(super) fn take_reply(into: *mut u8);
        pub(super) safe fn failed(method: u32, text: *const u8, len: usize);
        pub(super) safe fn panicked(message: *const u8, len: usize, location: *const u8, location_len: usize);
        pub(super) safe fn contained(message: *const u8, len: usize);
        pub(super) safe fn log(level: u32, target: *const u8, target_len: usize, message: *const u8, len: usize);
        pub(super) safe fn time() -> u64;
    }
}

/// The panic hook ran.
pub(super) fn panicked(message: &str, location: &str) {
    let message = cut(message);
    import::panicked(message.as_ptr(), message.len(), location.as_ptr(), location.len());
}

/// A panic was caught.
pub(crate) fn contained(message: &str) {
    let message = cut(message);
    import::contained(message.as_ptr(), message.len());
}

/// A record.
pub(super) fn log(level: u8, target: &str, message: &str) {
    let (target, message) = (cut(target), cut(message));
    import::log(level.into(), target.as_ptr(), target.len(), message.as_ptr(), message.len());
}

/// Nanoseconds since 1970, from the host's clock.
pub(crate) fn time() -> u64 {
    import::time()
}

thread_local! {
    /// What the plugin has lent in its innermost call.
    pub(super) static LENT: ActiveLentObjects = const { ActiveLentObjects::new() };
    /// Memory for a request and a reply, while no call uses it.
    static MESSAGES: RefCell<(Message, Message)> = const { RefCell::new((Message::new(), Message::new())) };
}

/// The first room for replies, which most of them fit into.
const REPLY: usize = 256;

/// Carries calls to objects of the host.
pub(super) struct ToHost;

impl Transport for ToHost {
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError> {
        // A call during this one finds none, and gets its own.
        let (mut request, mut reply) = MESSAGES.take();
        let len = call.request_len()?;
        let no_room = |len: usize| MarshalError::BufferSize { needed: len as u64 };
        call.encode(request.room(len).ok_or(no_room(len))?)?;
        if !reply.reserve(REPLY) {
            return Err(no_room(REPLY).into());
        }
        let answer = LENT.with(|lent| {
            lent.enter(call.lends(), || {
                // SAFETY: the host reads the request and writes at most `capacity` bytes to the reply, and both live for the call.
                unsafe {
                    import::call(
                        call.target(),
                        call.method(),
                        request.as_ptr(),
                        len,
                        reply.as_mut_ptr(),
                        reply.capacity(),
                    )
                }
            })
        });
        let (code, len) = ((answer >> 32) as u32, answer as u32 as usize);
        if len > reply.capacity() {
            let room = reply.room(len).ok_or(no_room(len))?;
            // SAFETY: the host writes the reply of the last call, which has this length.
            unsafe { import::take_reply(room.as_mut_ptr()) };
        }
        call.complete(code, reply.bytes(len).ok_or(no_room(len))?)?;
        MESSAGES.set((request, reply));
        Ok(())
    }

    fn failed(&self, method: u32, error: TransportError) {
        let words = crate::text::cut_words(error);
        import::failed(method, words.as_ptr(), words.len());
    }
}
