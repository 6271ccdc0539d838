//! What can go wrong: with the artifacts, with how the kit is used, and with the plugin or the host that is tested.

use std::{fmt, path::PathBuf};

/// What a closure of the caller's may fail with: `?` makes it of a [`CallError`](reslot::CallError), of a text and of most errors.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// Why an artifact cannot be had.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// The file is not there.
    #[error("there is no artifact {}: {why}", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// Cargo could not build it.
    #[error("package {package:?} could not be built: {why}")]
    Build {
        /// The package.
        package: String,
        /// Cargo's words.
        why: String,
    },
}

/// As `Display`: a test that ends with `?` prints this.
impl fmt::Debug for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What did not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The artifacts cannot be had.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The kit was asked for what cannot be done with these artifacts.
    #[error("{0}")]
    Usage(String),
    /// The host, a thread or a folder could not be had.
    #[error("the test itself could not go on: {0}")]
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
        /// Of how many.
        units: u64,
        /// The first of them, with its backtrace if the plugin panicked.
        first: String,
    },
    /// What `same` saw after a move is another thing than before it.
    #[error("state was lost: `same` number {which} answered\n    before: {before}\n    after:  {after}")]
    StateLost {
        /// Which `same`, counted from 1 in the order in which they were given.
        which: usize,
        /// What it was.
        before: String,
        /// What it is.
        after: String,
    },
    /// What the caller says must add up does not.
    #[error("it does not add up after {units} unit(s) of load: {why}")]
    DoesNotAddUp {
        /// How many units of load have succeeded since `state`.
        units: u64,
        /// The caller's words.
        why: String,
    },
    /// The host did not make the move.
    #[error("the move was not made: {0}")]
    NotMoved(String),
    /// A fault that was to be refused was not, or not as it should be.
    #[error("{0}")]
    Fault(String),
    /// A generation was not proven unmapped.
    #[error("generation {generation} stays mapped: {why}")]
    StaysMapped {
        /// Which.
        generation: u64,
        /// What keeps it.
        why: String,
    },
    /// Something is left when the host is gone.
    #[error("something is left after the host was dropped: {0}")]
    Left(String),
}

/// A run that did not go well: what did not hold, at which move, and what the host had told until then.
pub struct Failure {
    at: String,
    broken: Broken,
    told: Vec<String>,
}

impl Failure {
    pub(crate) fn new(at: impl Into<String>, broken: impl Into<Broken>) -> Self {
        Self {
            at: at.into(),
            broken: broken.into(),
            told: Vec::new(),
        }
    }

    pub(crate) fn told(mut self, told: Vec<String>) -> Self {
        self.told = told;
        self
    }

    /// The move, in words.
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
        if !self.told.is_empty() {
            write!(f, "\n  what the host told:")?;
            for words in &self.told {
                write!(f, "\n    {}", words.replace('\n', "\n    "))?;
            }
        }
        Ok(())
    }
}

/// As `Display`: a test that ends with `?` prints this.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}
