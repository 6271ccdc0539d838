//! The source of the screen's data. `Socket` is a host's control socket; tests have their own sources.

use reslot_control::{
    Client, ClientError,
    protocol::{Answer, Refused, Request},
};
use std::path::PathBuf;

/// A host that may be running or not.
pub(crate) trait Source: Send + Sync {
    /// The name of the source, such as a socket's path.
    fn name(&self) -> String;
    /// Connects to the host.
    ///
    /// # Errors
    /// If the connection fails, with a message.
    fn connect(&self) -> Result<Box<dyn Connection>, String>;
}

/// A connection to a host. Connections do not wait for each other.
pub(crate) trait Connection {
    /// Sends a request, and waits for the answer.
    ///
    /// # Errors
    /// See [`Failure`].
    fn ask(&mut self, request: &Request) -> Result<Answer, Failure>;
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The host refused the request.
    Refused(Refused),
    /// The connection is broken, with a message.
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
