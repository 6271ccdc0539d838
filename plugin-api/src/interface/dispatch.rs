//! The callee's side: a request becomes a call of an object through its ordinary table. What is generated for each interface is
//! in `Interface::dispatch`.

use super::{Interface, Passed, Status, lent::LentObjects, stub::Transport};
use crate::{crossing::Encoder, marshal::error::MarshalError};
use std::cell::Cell;

/// How a call ended, as the other side sends it beside the reply.
pub mod code {
    /// The reply has the result.
    pub const OK: u32 = 0;
    /// The callee panicked. The reply is empty.
    pub const PANICKED: u32 = 1;
    /// An object that was lent to the callee panicked on the caller's side. The reply is empty.
    pub const CALLBACK: u32 = 2;
    /// A call from the callee to an object that was lent to it failed, or the callee's side failed and could not send the reason. The reply
    /// is empty.
    pub const FAILED: u32 = 3;
    /// The callee's side refused the request before it called anything, or could not send the result. The reply says why.
    pub const REJECTED: u32 = 4;
}

/// What `#[interface]` generates for calls as bytes, without the type of the interface.
#[derive(Clone, Copy)]
pub struct Marshalling {
    pub(crate) description: &'static crate::description::Interface,
    pub(crate) stubs: *const (),
    pub(crate) dispatch: Dispatch,
}

// SAFETY: a table is constant data, and so are the others.
unsafe impl Send for Marshalling {}
// SAFETY: as above.
unsafe impl Sync for Marshalling {}

impl Marshalling {
    /// That of the interface `I`.
    #[inline]
    #[must_use]
    pub fn of<I: ?Sized + Interface>() -> Self {
        Self {
            description: I::DESCRIPTION,
            stubs: I::stubs(),
            dispatch: I::dispatch,
        }
    }

    /// The interface's description.
    #[must_use]
    pub fn description(&self) -> &'static crate::description::Interface {
        self.description
    }
}

impl std::fmt::Debug for Marshalling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marshalling")
            .field("interface", &self.description.name)
            .finish_non_exhaustive()
    }
}

/// The generated function of an interface: calls the method of this index, and writes the reply.
///
/// # Safety
/// The object must be live with its table, belong to the interface, and be borrowed as the method's receiver says.
pub type Dispatch =
    unsafe fn(Passed, u32, CallContext<'_>, request: &[u8], reply: &mut dyn ReplyBuffer) -> Result<Status, MarshalError>;

/// What a call needs that is made while another one is served.
#[derive(Clone, Copy)]
pub struct CallContext<'a> {
    pub(super) transport: &'a dyn Transport,
    pub(super) lends: LentObjects<'a>,
    /// Set if a call to an object of the other side has failed because of that side. The object that is served is unwound then.
    pub(super) remote_failure: &'a Cell<bool>,
}

/// Where a reply is written.
pub trait ReplyBuffer {
    /// Room for a reply of `len` bytes, which are all overwritten; none if it is too long for this engine. If it is asked for again, the
    /// last answer is the reply's.
    fn room(&mut self, len: usize) -> Option<&mut [u8]>;
}

impl ReplyBuffer for Vec<u8> {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        self.clear();
        self.resize(len, 0);
        Some(self)
    }
}

impl dyn ReplyBuffer + '_ {
    /// Measures a reply, and writes it.
    #[inline]
    pub fn put(&mut self, encode: impl Fn(&mut Encoder<'_>) -> Result<(), MarshalError>) -> Result<(), MarshalError> {
        let mut measured = Encoder::measure(None);
        encode(&mut measured)?;
        let len = measured.len();
        if len == 0 {
            return Ok(());
        }
        let no_room = MarshalError::BufferSize { needed: len as u64 };
        let room = self.room(len).filter(|room| room.len() == len).ok_or(no_room)?;
        encode(&mut Encoder::write(room, None))
    }
}

/// The code for the end of a dispatched call. If the request was refused, the reason becomes the reply.
#[must_use]
pub fn encode_outcome(served: Result<Status, MarshalError>, reply: &mut dyn ReplyBuffer) -> (u32, Option<MarshalError>) {
    match served {
        Ok(Status(code @ code::OK..=code::FAILED)) => (code, None),
        // A status that this version does not know comes from an object of a later one.
        Ok(_) => (code::FAILED, None),
        // If there is no room for the reason either, the code has to do.
        Err(error) => match reply.put(|into| encode_error(error, into)) {
            Ok(()) => (code::REJECTED, Some(error)),
            Err(_) => (code::FAILED, Some(error)),
        },
    }
}

fn encode_error(error: MarshalError, into: &mut Encoder<'_>) -> Result<(), MarshalError> {
    let (number, first, second) = error.parts();
    into.value(&first)?;
    into.value(&second)?;
    into.value(&number)
}

/// Calls an instance, on the side of the plugin, and returns the code for the host. `transport` carries calls to objects that the
/// host lends. The error is for the engine's report; the host gets it, too.
///
/// # Safety
/// `data` and `table` must be an instance and its table for this interface, live during the call. The side that sends the
/// requests must call a method with `&mut self` only while no other method of the instance runs and nothing of it is borrowed.
pub unsafe fn dispatch_instance(
    marshalling: &Marshalling,
    (data, table): (*mut (), *const ()),
    method: u32,
    request: &[u8],
    reply: &mut dyn ReplyBuffer,
    transport: &dyn Transport,
) -> (u32, Option<MarshalError>) {
    let context = CallContext {
        transport,
        lends: LentObjects::default(),
        remote_failure: &Cell::new(false),
    };
    // SAFETY: the caller's promise.
    let served = unsafe {
        let object = Passed::new(data, table);
        (marshalling.dispatch)(object, method, context, request, reply)
    };
    encode_outcome(served, reply)
}
