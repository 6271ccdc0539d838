//! The steps of a reload, in the order in which they happen.

use std::fmt;

/// A step of a reload. The variants are in the order in which the steps happen.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::Step;
///
/// assert_eq!((Step::Lint.name(), Step::Swap.name()), ("lint", "swap"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// From the file system's event until the reload thread starts to work on it.
    Notice,
    /// The file is read and hashed.
    Read,
    /// The bytes are checked; nothing is executed.
    Lint,
    /// A child process tries the artifact out, if the policy asks for it.
    Preflight,
    /// The private copy is written and mapped.
    Open,
    /// The mapped image is checked.
    Verify,
    /// The instance is made.
    Create,
    /// The current generation encodes its state. From here on its callers wait.
    Snapshot,
    /// The state is migrated if necessary, and the new instance decodes it.
    Migrate,
    /// `Plugin::init` runs: the instance derives data from its state.
    Init,
    /// `Plugin::start` runs: the instance acquires what it needs.
    Start,
    /// Its health is checked.
    Health,
    /// The new view is published.
    Swap,
    /// It is current, and the host watches it for faults.
    Probation,
}

impl Step {
    /// Its name in lower case, as in messages, on the control socket and in labels of metrics.
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
