//! What can be wrong with a message, and why a call as bytes failed.

use std::fmt;

/// What is wrong with a message. Positions are bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MarshalError {
    /// The message ends before a value does.
    Truncated {
        /// Where the value begins.
        at: u64,
        /// The bytes that it needs.
        needed: u64,
    },
    /// The message goes on after its last value.
    Trailing {
        /// Where it should have ended.
        at: u64,
    },
    /// A length is claimed for which the message has not enough bytes. Nothing was allocated for it.
    Length {
        /// Where the elements begin.
        at: u64,
        /// The claimed number of elements.
        claimed: u64,
    },
    /// A `&mut` slice came back with another length.
    OtherLength {
        /// The number of elements that were sent.
        sent: u64,
        /// The number that came back.
        found: u64,
    },
    /// The bytes are no value of their type: a `bool` other than 0 and 1, a `char` that does not exist, or an enum's unknown tag.
    Value {
        /// Where the whole value begins.
        at: u64,
        /// The type that was expected.
        of: &'static str,
    },
    /// The bytes of a text are not UTF-8.
    Utf8 {
        /// Where the text begins.
        at: u64,
    },
    /// Neither `None` nor `Some`, or neither `Ok` nor `Err`.
    Tag {
        /// Where it is.
        at: u64,
        /// The byte that was found.
        found: u8,
    },
    /// The interface, or the object's build of it, has no method with this index.
    Method {
        /// The index.
        index: u32,
    },
    /// The method returns a borrow, which cannot cross as bytes.
    Borrowed {
        /// The method's index.
        index: u32,
    },
    /// The handle is of no object that is lent at present: the call in which it was lent has ended, or it never existed.
    Handle {
        /// The handle.
        found: u64,
    },
    /// The lent object is in use in a way that excludes this call: one of the two methods takes `&mut self`.
    Busy {
        /// The handle.
        handle: u64,
    },
    /// The object was lent as `&dyn`, and the method takes `&mut self`.
    ReadOnly {
        /// The handle.
        handle: u64,
    },
    /// More bytes or elements than a `u32` can count, or more lent objects than a handle can.
    TooLong {
        /// How many.
        len: u64,
    },
    /// The buffer has another size than the message.
    BufferSize {
        /// The message's size.
        needed: u64,
    },
    /// The other side reports a status that does not exist.
    Status {
        /// The status.
        found: u32,
    },
    /// The transport has completed a call twice.
    Completed,
    /// Too many calls of lent objects are nested.
    Nested {
        /// How many there may be.
        most: u32,
    },
}

impl fmt::Display for MarshalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { at, needed } => write!(f, "the message ends before a value of {needed} bytes at byte {at}"),
            Self::Trailing { at } => write!(f, "the message goes on after its end at byte {at}"),
            Self::Length { at, claimed } => {
                write!(
                    f,
                    "the message claims {claimed} elements at byte {at}, but is too short for them"
                )
            }
            Self::OtherLength { sent, found } => write!(f, "a slice of {sent} elements came back with {found}"),
            Self::Value { at, of } => write!(f, "the bytes at byte {at} of the message are not a valid `{of}`"),
            Self::Utf8 { at } => write!(f, "the text at byte {at} of the message is not UTF-8"),
            Self::Tag { at, found } => write!(f, "byte {at} of the message is {found}, and must be 0 or 1"),
            Self::Method { index } => write!(f, "there is no method with index {index}"),
            Self::Borrowed { index } => write!(
                f,
                "the method with index {index} returns a borrow, which cannot cross as bytes"
            ),
            Self::Handle { found } => write!(f, "the handle {found:#x} is of no object that is lent at present"),
            Self::Busy { handle } => write!(f, "the lent object {handle:#x} is in use by another call"),
            Self::ReadOnly { handle } => {
                write!(
                    f,
                    "the object {handle:#x} was lent as `&dyn`, and the method takes `&mut self`"
                )
            }
            Self::TooLong { len } => write!(f, "{len} bytes, elements or objects are more than one call can pass"),
            Self::BufferSize { needed } => write!(f, "the message has {needed} bytes, and the buffer has another size"),
            Self::Status { found } => write!(f, "the call ended with the status {found}, which does not exist"),
            Self::Completed => f.write_str("the transport has completed the call twice"),
            Self::Nested { most } => write!(f, "more than {most} calls of lent objects are nested"),
        }
    }
}

impl std::error::Error for MarshalError {}

impl MarshalError {
    /// Number, and two values, which is how it crosses.
    pub(crate) fn parts(self) -> (u32, u64, u64) {
        match self {
            Self::Truncated { at, needed } => (0, at, needed),
            Self::Trailing { at } => (1, at, 0),
            Self::Length { at, claimed } => (2, at, claimed),
            Self::OtherLength { sent, found } => (3, sent, found),
            Self::Value { at, .. } => (4, at, 0),
            Self::Utf8 { at } => (5, at, 0),
            Self::Tag { at, found } => (6, at, found.into()),
            Self::Method { index } => (7, index.into(), 0),
            Self::Borrowed { index } => (8, index.into(), 0),
            Self::Handle { found } => (9, found, 0),
            Self::Busy { handle } => (10, handle, 0),
            Self::ReadOnly { handle } => (11, handle, 0),
            Self::TooLong { len } => (12, len, 0),
            Self::BufferSize { needed } => (13, needed, 0),
            Self::Status { found } => (14, found.into(), 0),
            Self::Completed => (15, 0, 0),
            Self::Nested { most } => (16, most.into(), 0),
        }
    }

    /// The error that the other side has sent. The name of a type does not cross.
    pub(crate) fn of_parts((number, first, second): (u32, u64, u64)) -> Result<Self, Self> {
        // Numbers of 32 and 8 bits were sent as 64; from a hostile side only the low ones count.
        let index = first as u32;
        Ok(match number {
            0 => Self::Truncated {
                at: first,
                needed: second,
            },
            1 => Self::Trailing { at: first },
            2 => Self::Length {
                at: first,
                claimed: second,
            },
            3 => Self::OtherLength {
                sent: first,
                found: second,
            },
            4 => Self::Value {
                at: first,
                of: "the argument's type",
            },
            5 => Self::Utf8 { at: first },
            6 => Self::Tag {
                at: first,
                found: second as u8,
            },
            7 => Self::Method { index },
            8 => Self::Borrowed { index },
            9 => Self::Handle { found: first },
            10 => Self::Busy { handle: first },
            11 => Self::ReadOnly { handle: first },
            12 => Self::TooLong { len: first },
            13 => Self::BufferSize { needed: first },
            14 => Self::Status { found: index },
            15 => Self::Completed,
            16 => Self::Nested { most: index },
            _ => {
                return Err(Self::Tag {
                    at: 16,
                    found: number as u8,
                });
            }
        })
    }
}

/// Why a call as bytes failed, other than by a panic of the callee.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransportError {
    /// The request could not be encoded, or the reply is not what the interface says.
    Marshal(MarshalError),
    /// The other side has refused the request, or could not send the result.
    Rejected(MarshalError),
    /// A call back from the other side failed, which was reported when it happened, or the other side failed and could not say why.
    Callback,
    /// The method returns a borrow, which cannot cross as bytes.
    Borrowed,
    /// The transport has neither completed the call nor returned an error.
    NoReply,
    /// The transport's own code panicked.
    Panicked,
    /// The engine's own reason: a deadline, a trap, the end of a process.
    Engine(Box<dyn std::error::Error + Send + Sync>),
}

impl From<MarshalError> for TransportError {
    fn from(error: MarshalError) -> Self {
        Self::Marshal(error)
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Marshal(error) => write!(f, "the request or the reply could not be encoded or decoded: {error}"),
            Self::Rejected(error) => write!(f, "the other side refused the call: {error}"),
            Self::Callback => {
                f.write_str("a call back to a lent object failed, or the other side failed and could not say why")
            }
            Self::Borrowed => f.write_str("the method returns a borrow, which this engine cannot pass on"),
            Self::NoReply => f.write_str("the engine has returned without a reply"),
            Self::Panicked => f.write_str("the engine panicked"),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Marshal(error) | Self::Rejected(error) => Some(error),
            Self::Engine(error) => error.source(),
            _ => None,
        }
    }
}
