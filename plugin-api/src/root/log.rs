//! The data that crosses when a plugin logs: numbers and borrowed texts. The host keeps only copies. `inside::logs` makes
//! them.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};

/// The `parent` of a record without a parent. 0 means the current span of the thread.
pub const NO_PARENT: u64 = u64::MAX;

/// The kind of a [`LogRecord`].
#[repr(u8)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// An event of `tracing`.
    Event,
    /// A span of `tracing`.
    Span,
    /// A record of `log`.
    Log,
}

/// An event or a new span.
#[repr(C)]
#[derive(StableAbi)]
pub struct LogRecord<'a> {
    /// Identifies a place in the plugin's code as long as its image is mapped; 0 if it is unknown. The host does not
    /// dereference it.
    pub place: usize,
    /// The kind of the record.
    pub kind: LogKind,
    /// 1 is an error, 5 a trace.
    pub level: u8,
    /// The name of the span, or tracing's generated name of the event.
    pub name: RStr<'a>,
    /// The target, which filters use.
    pub target: RStr<'a>,
    /// The module; may be empty.
    pub module: RStr<'a>,
    /// The source file; may be empty.
    pub file: RStr<'a>,
    /// The line there, or 0.
    pub line: u32,
    /// The names of all fields of the place.
    pub fields: RSlice<'a, RStr<'a>>,
    /// The host's number of a span, 0, or [`NO_PARENT`].
    pub parent: u64,
    /// The fields that have a value.
    pub values: RSlice<'a, LogValue<'a>>,
}

/// What a [`LogValue`] is.
#[repr(u8)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `low` and `high` are an `i128`.
    Signed,
    /// `low` and `high` are a `u128`.
    Unsigned,
    /// `low` is 0 or 1.
    Bool,
    /// `low` is the bits of an `f64`.
    Float,
    /// `text`, from a text value.
    Text,
    /// `text`, formatted by `Debug` or `Display`.
    Shown,
}

/// The value of a field.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogValue<'a> {
    /// The index of the field.
    pub field: u32,
    /// Which of the following members has the value.
    pub kind: ValueKind,
    /// A number's lower half.
    pub low: u64,
    /// Its upper half.
    pub high: u64,
    /// A text.
    pub text: RStr<'a>,
}

/// An operation on a span.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanDeed {
    /// The thread enters the span.
    Enter,
    /// The thread leaves the span.
    Exit,
    /// A handle was cloned.
    Clone,
    /// A handle was dropped; returns whether it was the last one.
    Close,
    /// Fields got values.
    Record,
    /// The span follows from `other`.
    Follows,
}

impl SpanDeed {
    /// The operation with this number.
    pub fn of(number: u8) -> Option<Self> {
        const ALL: [SpanDeed; 6] = [
            SpanDeed::Enter,
            SpanDeed::Exit,
            SpanDeed::Clone,
            SpanDeed::Close,
            SpanDeed::Record,
            SpanDeed::Follows,
        ];
        ALL.into_iter().find(|deed| *deed as u8 == number)
    }
}
