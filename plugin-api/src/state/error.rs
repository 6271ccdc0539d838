//! Why a state could not be encoded or decoded, and at which place in it.

use super::bounds::{Met, note};
use serde::{de, ser};
use std::fmt;

/// The reason and the place. It has the size of one word, because it is part of each result while a state is encoded or
/// decoded.
#[derive(Debug)]
pub(crate) struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    words: String,
    /// The path to the place, the innermost part first.
    path: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Field(String),
    Element(usize),
}

/// The number of parts of a long path that are shown at its beginning and at its end.
const SHOWN: usize = 5;
/// serde's messages when it buffers a value before it passes it to a type. Its buffer has no 128-bit numbers.
const NOT_HELD: [&str; 2] = ["i128 is not supported", "u128 is not supported"];

impl Error {
    #[cold]
    pub(super) fn new(words: String) -> Self {
        let path = Vec::new();
        Self(Box::new(Inner { words, path }))
    }

    /// It happened in this field, or at this key.
    #[cold]
    pub(super) fn in_field(mut self, name: &str) -> Self {
        self.0.path.push(Part::Field(name.to_owned()));
        self
    }

    /// It happened in this element of a list.
    #[cold]
    pub(super) fn in_element(mut self, index: usize) -> Self {
        self.0.path.push(Part::Element(index));
        self
    }

    /// Adds that the reason may be a 128-bit number that serde buffered, because the message may not mention it.
    #[cold]
    pub(super) fn because_of_held_numbers(mut self) -> Self {
        if !self.0.words.contains("128") {
            self.0
                .words
                .push_str(" (there is an `i128` or a `u128` in it, which serde cannot read there)");
        }
        self
    }

    /// The place; none if it is the whole value.
    pub(crate) fn path(&self) -> Option<String> {
        let path = &self.0.path;
        let mut words = String::new();
        for (at, part) in path.iter().rev().enumerate() {
            if at >= SHOWN && at + SHOWN < path.len() {
                if at == SHOWN {
                    words.push_str(".…");
                }
                continue;
            }
            match part {
                Part::Field(name) if words.is_empty() => words.push_str(name),
                Part::Field(name) => words.extend([".", name]),
                Part::Element(index) => words.push_str(&format!("[{index}]")),
            }
        }
        (!words.is_empty()).then_some(words)
    }

    /// The message.
    pub(crate) fn words(&self) -> &str {
        &self.0.words
    }

    #[cold]
    fn custom(words: String) -> Self {
        if !NOT_HELD.contains(&&*words) {
            return Self::new(words);
        }
        note(Met::NotCarried);
        let kind = &words[..4];
        Self::new(format!(
            "serde cannot read a {kind} here, because it holds the value back before it gives it to its type: the {kind} is inside of \
             something with `#[serde(flatten)]`, `#[serde(untagged)]` or `#[serde(tag = \"…\")]`"
        ))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = self.path() {
            write!(f, "at `{path}`: ")?;
        }
        f.write_str(&self.0.words)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::custom(words.to_string())
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::custom(words.to_string())
    }
}
