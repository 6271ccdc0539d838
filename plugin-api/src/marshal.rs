//! Calls as bytes, for engines whose plugins run behind a boundary that only bytes cross: a sandbox, or another process.
//!
//! `#[interface]` generates two things for it, beside the function tables of a call in one process:
//!
//! - *stubs*: a function table, of the ordinary layout, whose functions encode the arguments, hand them to a [`Transport`], and
//!   decode the reply. To clients, claims and views it is like the table of any other object.
//! - a *dispatch* function: it decodes the arguments, calls an object through its ordinary table, and encodes the result.
//!
//! Both sides use both. The host calls an instance through stubs, and the plugin's side dispatches to the instance's table. An
//! object that the host lends for the call crosses as a *handle*; the plugin's side makes a stub of it, and the host dispatches
//! to the object itself. An object that the plugin lends in such a callback goes the opposite way.
//!
//! All of it is generic or `#[inline]`, so it is compiled only where it is used: in an engine, or in a plugin that is built for
//! one. It uses neither libc nor threads nor the clock, because the plugin's side also runs in WebAssembly.
//!
//! # The bytes
//! Both sides have the same byte order and the same layouts of `Crossing` types (an engine compares the descriptions). A request is
//! the arguments in their order. A reply is the result, and then the new values of the `&mut` arguments in their order.
//!
//! | what | bytes |
//! |---|---|
//! | `Crossing` type `T` | zeros up to the alignment of `T`; its bytes, with padding as zeros |
//! | `&[T]`, `&mut [T]` | length (`u32`); zeros up to the alignment of `T`; the elements |
//! | `&str`, `String` | length (`u32`); UTF-8 |
//! | `Vec<T>` | length (`u32`); the elements, each as `T` |
//! | `Option<T>`, `Result<T, E>` | one byte: 0 for `None` and `Ok`, 1 for `Some` and `Err`; the content |
//! | `&dyn I`, `&mut dyn I` | handle (`u64`); number of functions of the lent table (`u32`) |
//!
//! An element without bytes gets one, which is zero. Numbers are aligned as well. Positions count from the start of the message. If the message is aligned to [`MESSAGE_ALIGN`], a
//! `&[T]` is used where it lies, and is not copied.
//!
//! # What the other side cannot do
//! Each byte is checked before it becomes a part of a Rust value, and each length against the bytes that are there before
//! anything is allocated. A message must lie in memory that the other side cannot change meanwhile: a transport over shared
//! memory copies first. A handle is valid only during the call for which it was made: it contains the number of that call, which is checked. While a method
//! with `&mut self` runs in a lent object, or any other method, nothing else gets at the object in a way that Rust forbids:
//! each lent object counts its borrows. A side that claims that the caller's own object has panicked is believed only if one
//! has, so it cannot unwind its caller.

pub(crate) mod error;

pub use crate::crossing::{DecodedSlice, Decoder, Encoder, Invalid, NewValues, to_array};
pub use crate::interface::{
    ActiveLentObjects, Call, CallContext, Dispatch, INSTANCE, LentEntry, LentObjects, MAX_NESTED_CALLS, MarshalStep,
    Marshalling, RemoteInstance, RemoteObject, ReplyBuffer, Transport, call_stub, code, dispatch_instance, fail_unsupported,
};
pub use error::{MarshalError, TransportError};

/// Where a message should be aligned to, so that slices in it need not be copied.
pub const MESSAGE_ALIGN: usize = 16;
