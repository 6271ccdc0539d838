//! Where the screen's data comes from: a host that can be connected to, more than once, and asked. `Socket` is a host's control
//! socket; tests have sources of their own.

use reslot_control::{
    Client, ClientError,
    protocol::{Answer, Refused, Request},
};
use std::path::PathBuf;

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

/// The control socket at this path.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) PathBuf);

impl Source for Socket {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn connect(&self) -> Result<Box<dyn Connection>, String> {
        match Client::connect(&self.0) {
            Ok(client) => Ok(Box::new(client)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Connection for Client {
    fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        Self::ask(self, request.clone()).map_err(|error| match error {
            ClientError::Refused(refused) => Failure::Refused(refused),
            error => Failure::Gone(error.to_string()),
        })
    }
}
