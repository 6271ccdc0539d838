//! The types of `root.rs` that a plugin needs, also if it shares no memory with its host.

#[path = "../root/buffer.rs"]
mod buffer;

use crate::std_types::{RStr, RString};
pub use buffer::{Buffer, BufferAbi, Writer};

/// [`Health`](crate::Health) as it crosses.
pub struct HealthAbi {
    /// The index of the variant, from 0.
    pub result: u32,
    /// Its message; empty for `Ok`.
    pub message: RString,
}

/// Information about an instance, for its hooks.
#[derive(Clone, Copy)]
pub struct ContextAbi<'a> {
    /// The slot's name.
    pub slot: RStr<'a>,
    /// The generation's number.
    pub generation: u64,
}

/// The outcome of encoding or decoding a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateOutcome {
    /// It is done.
    Done,
    /// Success, but there is no state, because the plugin is stateless.
    NoState,
}
