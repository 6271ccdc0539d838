//! What crosses when a plugin logs: numbers and borrowed texts, of which the host keeps copies and nothing else. How they come
//! about is told in `inside::logs`.

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};

/// The `parent` of what has none, whatever span its thread is in. 0 stands for that span.
pub const NO_PARENT: u64 = u64::MAX;

/// What a [`LogRecord`] tells of.
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
    /// Tells one place in the plugin's code from another as long as its image is mapped; 0 if nobody can. A number: the host does not
    /// look there.
    pub place: usize,
    /// What it is.
    pub kind: LogKind,
    /// 1 is an error, 5 a trace.
    pub level: u8,
    /// The span's, or what tracing made up for the event.
    pub name: RStr<'a>,
    /// What filters go by.
    pub target: RStr<'a>,
    /// The module; may be empty.
    pub module: RStr<'a>,
    /// The source file; may be empty.
    pub file: RStr<'a>,
    /// The line there, or 0.
    pub line: u32,
    /// The names of all fields that the place has.
    pub fields: RSlice<'a, RStr<'a>>,
    /// The host's number of a span, 0, or [`NO_PARENT`].
    pub parent: u64,
    /// Those fields that have a value.
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
    /// `text`, which was a text.
    Text,
    /// `text`, which was written by `Debug` or `Display`.
    Shown,
}

/// The value of a field.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogValue<'a> {
    /// Which of the place's fields.
    pub field: u32,
    /// Which of the following holds it.
    pub kind: ValueKind,
    /// A number's lower half.
    pub low: u64,
    /// Its upper half.
    pub high: u64,
    /// A text.
    pub text: RStr<'a>,
}

/// What is done with a span.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanDeed {
    /// The thread goes in.
    Enter,
    /// The thread comes out.
    Exit,
    /// One more handle.
    Clone,
    /// One handle less; answers whether it was the last.
    Close,
    /// Values for fields that had none.
    Record,
    /// It follows from `other`.
    Follows,
}

impl SpanDeed {
    /// The deed of this number.
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
