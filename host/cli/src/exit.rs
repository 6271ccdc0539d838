//! Exit codes for scripts, and errors for people. `--help` and the manual print the list from here.

use crate::output::bad;
use reslot_control::{ClientError, protocol::ErrorKind};
use std::{fmt::Write as _, io, process::ExitCode};

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The request was carried out.
    Done = 0,
    /// The host refused the request.
    Refused = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No host answers.
    NoHost = 3,
    /// The host does not have the slot, or it is empty.
    UnknownSlot = 4,
    /// The host has another version of the protocol.
    OtherVersion = 5,
    /// The output is closed or full.
    OutputGone = 6,
    /// The host belongs to another user.
    Permission = 7,
}

const ALL: [(Exit, &str); 8] = [
    (Exit::Done, "done"),
    (Exit::Refused, "refused, or not done; the host keeps what it has"),
    (Exit::Usage, "the command line is wrong, or names a file that cannot be read"),
    (
        Exit::NoHost,
        "no host answers: no socket, or the process is dead, shutting down, or too busy",
    ),
    (Exit::UnknownSlot, "the host has no such slot, or the slot is empty"),
    (
        Exit::OtherVersion,
        "the host speaks another version of the protocol, or its answer is invalid",
    ),
    (
        Exit::OutputGone,
        "the output is closed or full: a closed pipe, a closed terminal",
    ),
    (Exit::Permission, "permission denied: the host is another user's"),
];

/// The list for `--help`.
pub fn in_words() -> String {
    let mut words = "Exit codes:".to_owned();
    for (exit, meaning) in ALL {
        let _ = write!(words, "\n  {}  {meaning}", exit as u8);
    }
    words
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request failed, or the host refused it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The output is closed or full.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    /// Anything else, as a message.
    #[error("{1}")]
    Other(Exit, String),
}

impl Failure {
    /// Prints the error on standard error, and returns the exit code.
    pub fn print(self) -> Exit {
        let exit = self.exit();
        // A closed pipe is not reported. If standard error is closed, the message is lost.
        if exit != Exit::OutputGone || !matches!(&self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            use io::Write;
            let _ = writeln!(anstream::stderr(), "{} {self}", bad("error:"));
        }
        exit
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Output(_) => Exit::OutputGone,
            Self::Other(exit, _) => *exit,
            Self::Client(error) => match error {
                ClientError::Refused(refused) => match refused.kind {
                    ErrorKind::UnknownSlot => Exit::UnknownSlot,
                    ErrorKind::Malformed | ErrorKind::Version => Exit::OtherVersion,
                    _ => Exit::Refused,
                },
                ClientError::Permission { .. } => Exit::Permission,
                ClientError::Version { .. } | ClientError::Nonsense { .. } => Exit::OtherVersion,
                _ => Exit::NoHost,
            },
        }
    }
}
