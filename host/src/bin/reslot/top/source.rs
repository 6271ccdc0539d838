//! Where the screen's data comes from: a host that can be connected to, more than once, and asked. `Socket` is a host's control
//! socket; tests have sources of their own.

use reslot::control::protocol::{Answer, Refused, Request};

/// A host that may be there, or not now, or again.
pub(crate) trait Source: Send + Sync {
    /// What is looked for, in a word: a socket's path.
    fn name(&self) -> String;
    /// Makes a connection.
    ///
    /// # Errors
    /// Why there is none, in a sentence.
    fn connect(&self) -> Result<Box<dyn Connection>, String>;
}

/// A connection to a host. Several of them do not wait for each other.
pub(crate) trait Connection {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// See [`Failure`].
    fn ask(&mut self, request: &Request) -> Result<Answer, Failure>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The host does not want to, and is there.
    Refused(Refused),
    /// The connection is of no use any more: why, in a sentence.
    Gone(String),
}
