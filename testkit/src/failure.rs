//! Errors: of the artifacts, of the use of the testkit, and of the tested plugin or host.

use std::{fmt, path::PathBuf};

/// The error of a caller's closure. `?` converts a [`CallError`](reslot::CallError), a text and most errors into it.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Why an artifact is not available.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The file is not there.
    #[error("there is no artifact {}: {why}", .path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Cargo could not build it.
    #[error("package {package:?} could not be built: {why}")]
    Build {
        /// The package.
        package: String,
        /// Cargo's message.
        why: String,
    },
}

/// Prints the `Display` text, because a test that ends with `?` prints `Debug`.
impl fmt::Debug for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What did not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The artifacts are not available.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The run is not possible with these artifacts.
    #[error("{0}")]
    Usage(String),
    /// A host, a thread or a folder could not be made.
    #[error("the test itself failed: {0}")]
    Setup(String),
    /// The caller's `state` failed.
    #[error("`state` failed: {0}")]
    State(Problem),
    /// The caller's `same` failed.
    #[error("`same` failed: {0}")]
    Look(Problem),
    /// Calls failed.
    #[error("{count} of {units} unit(s) of load failed; the first: {first}")]
    Calls {
        /// How many.
        count: u64,
        /// The number of all units.
        units: u64,
        /// The first of them, with its backtrace if the plugin panicked.
        first: String,
    },
    /// A value of `same` differs after a move.
    #[error("state was lost: `same` number {which} answered\n    before: {before}\n    after:  {after}")]
    StateLost {
        /// Which `same`, counted from 1 in the order in which they were given.
        which: usize,
        /// The value before the move.
        before: String,
        /// The value after the move.
        after: String,
    },
    /// The check of `adds_up` failed.
    #[error("it does not add up after {units} unit(s) of load: {why}")]
    DoesNotAddUp {
        /// The number of successful units of load since `state`.
        units: u64,
        /// The caller's message.
        why: String,
    },
    /// The host did not make the move.
    #[error("the move was not made: {0}")]
    NotMoved(String),
    /// A fault was not refused, or not as expected.
    #[error("{0}")]
    Fault(String),
    /// A generation was not proven unmapped.
    #[error("generation {generation} stays mapped: {why}")]
    StaysMapped {
        /// The generation.
        generation: u64,
        /// What keeps it.
        why: String,
    },
    /// Something is left after the host was dropped.
    #[error("something is left after the host was dropped: {0}")]
    Left(String),
}

/// A failed run: the failed check, the move, and the host's events until then.
pub struct Failure {
    at: String,
    broken: Broken,
    events: Vec<String>,
}

impl Failure {
    pub(crate) fn new(at: impl Into<String>, broken: impl Into<Broken>) -> Self {
        Self {
            at: at.into(),
            broken: broken.into(),
            events: Vec::new(),
        }
    }

    pub(crate) fn with_events(mut self, events: Vec<String>) -> Self {
        self.events = events;
        self
    }

    /// The move, as text.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// What did not hold.
    pub fn broken(&self) -> &Broken {
        &self.broken
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.broken)?;
        if !self.events.is_empty() {
            write!(f, "\n  events of the host:")?;
            for words in &self.events {
                write!(f, "\n    {}", words.replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}

/// Prints the `Display` text, because a test that ends with `?` prints `Debug`.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
