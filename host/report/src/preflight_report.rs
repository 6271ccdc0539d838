//! What a preflight has found in an artifact with which all is well: the steps and their times.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// A step of a preflight, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PreflightStep {
    /// The child is started and says of which build it is.
    Begin,
    /// The loader maps the artifact; its static constructors run.
    Open,
    /// Its root and manifest are those that were linted.
    Verify,
    /// `Default::default`.
    Create,
    /// The state of another schema is turned into its own.
    Migrate,
    /// The state is decoded.
    Restore,
    /// `Plugin::init`.
    Init,
    /// `Plugin::health`.
    Health,
    /// The instance is dropped.
    Drop,
    /// The image is closed and looked for.
    Unload,
}

impl fmt::Display for PreflightStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Begin => "begin",
            Self::Open => "open",
            Self::Verify => "verify",
            Self::Create => "create",
            Self::Migrate => "migrate",
            Self::Restore => "restore",
            Self::Init => "init",
            Self::Health => "health",
            Self::Drop => "drop",
            Self::Unload => "unload",
        })
    }
}

/// An artifact went through its preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreflightReport {
    /// Each step that was taken with the artifact, and how long it took by the child's clock. They follow one another, so their
    /// sum is less than `total`; [`Begin`](PreflightStep::Begin) is not among them, because the host hears of its end only when the
    /// child is at work already.
    pub steps: Vec<(PreflightStep, Duration)>,
    /// What the preflight has cost its caller: the steps, and the child's beginning and end.
    pub total: Duration,
    /// Why the child could not unmap it, if it could not: the host will hardly be able to, either. None if it was proven unmapped.
    pub stays_mapped: Option<String>,
}

impl PreflightReport {
    /// A report of these steps. `stays_mapped` says why the child could not unmap the artifact, if so.
    pub fn new(steps: Vec<(PreflightStep, Duration)>, total: Duration, stays_mapped: Option<String>) -> Self {
        Self {
            steps,
            total,
            stays_mapped,
        }
    }
}

impl fmt::Display for PreflightReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "preflight in {}", Time(self.total))?;
        let mut before = " (of which ";
        for (step, took) in &self.steps {
            write!(f, "{before}{step} {}", Time(*took))?;
            before = ", ";
        }
        f.write_str(if self.steps.is_empty() { "" } else { ")" })?;
        match &self.stays_mapped {
            None => write!(f, "; unmapped"),
            Some(why) => write!(f, "; not unmapped: {why}"),
        }
    }
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ms", self.0.as_secs_f64() * 1e3)
    }
}
