//! How the program ends: a code for scripts, and words for people. Both are told by `--help` and the manual from the one list here.

use crate::output::bad;
use reslot_control::{ClientError, protocol::ErrorKind};
use std::{fmt::Write as _, io, process::ExitCode};

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// The host does not do it.
    Refused = 1,
    /// The command line asks for nothing that there is.
    Usage = 2,
    /// No host.
    NoHost = 3,
    /// A host without that slot.
    UnknownSlot = 4,
    /// A host that is not understood.
    OtherVersion = 5,
    /// Nobody reads what is printed.
    OutputGone = 6,
    /// A host of another user.
    Permission = 7,
}

const ALL: [(Exit, &str); 8] = [
    (Exit::Done, "done"),
    (Exit::Refused, "refused, or not done; the host goes on with what it has"),
    (Exit::Usage, "the command line is wrong, or names a file that cannot be read"),
    (
        Exit::NoHost,
        "no host answers there: no socket, a dead process, or one that is going or too busy",
    ),
    (Exit::UnknownSlot, "the host has no such slot, or nothing serves in it"),
    (
        Exit::OtherVersion,
        "the host speaks another version of the protocol, or answered nonsense",
    ),
    (
        Exit::OutputGone,
        "the output went away or is full: a closed pipe, a terminal that is gone",
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

/// Why the program ends otherwise than well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The host could not be asked, or refused.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// What is printed goes nowhere.
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    /// Anything else, in words.
    #[error("{1}")]
    Other(Exit, String),
}

impl Failure {
    /// Says why on standard error, and answers how to end.
    pub fn tell(self) -> Exit {
        let exit = self.exit();
        // Whoever closed a pipe knows; and if standard error is gone, there is nobody to tell.
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
