//! The steps of a reload, in the order in which they happen.

use std::fmt;

/// A step of a reload, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// From the file system's event to the reload thread's taking it up.
    Notice,
    /// The file is read and hashed.
    Read,
    /// The bytes are checked; nothing is executed.
    Lint,
    /// It is tried out in a child process, if the policy asks for that.
    Preflight,
    /// The private copy is written and mapped.
    Open,
    /// The mapped image is checked.
    Verify,
    /// The instance is made.
    Create,
    /// What serves encodes its state; whoever calls it waits from here on.
    Snapshot,
    /// The new instance gets the state: it is migrated if need be, and decoded.
    Migrate,
    /// The instance builds what is derived from its state.
    Init,
    /// The instance acquires what it needs.
    Start,
    /// It is asked for its health.
    Health,
    /// The pointer moves.
    Swap,
    /// It serves, and has yet to prove itself.
    Probation,
}

impl Step {
    /// Its name, in lower case, as it stands in messages, on the control socket and in the labels of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Read => "read",
            Self::Lint => "lint",
            Self::Preflight => "preflight",
            Self::Open => "open",
            Self::Verify => "verify",
            Self::Create => "create",
            Self::Snapshot => "snapshot",
            Self::Migrate => "migrate",
            Self::Init => "init",
            Self::Start => "start",
            Self::Health => "health",
            Self::Swap => "swap",
            Self::Probation => "probation",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
