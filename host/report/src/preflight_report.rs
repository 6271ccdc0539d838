//! The report of a preflight that succeeded: the steps and their times.

use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The steps of a preflight, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PreflightStep {
    /// The child process is started and reports its build.
    Begin,
    /// The loader maps the artifact; its static constructors run.
    Open,
    /// Its root and manifest are those that were linted.
    Verify,
    /// `Default::default`.
    Create,
    /// The state is migrated from another schema.
    Migrate,
    /// The state is decoded.
    Restore,
    /// `Plugin::init`.
    Init,
    /// `Plugin::health`.
    Health,
    /// The instance is dropped.
    Drop,
    /// The image is closed and proven gone.
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

/// The report of an artifact that passed its preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreflightReport {
    /// Each step, and how long it took by the child's clock. The steps follow one another, so their sum is less than
    /// `total`. [`Begin`](PreflightStep::Begin) is not included, because the host learns of its end only when the child
    /// already works.
    pub steps: Vec<(PreflightStep, Duration)>,
    /// The time of the whole preflight: the steps, and the start and the end of the child process.
    pub total: Duration,
    /// Why the child process could not unmap the artifact; the host probably cannot, either. None if it was proven unmapped.
    pub stays_mapped: Option<String>,
}

impl PreflightReport {
    /// A report of these steps. `stays_mapped` gives the reason if the child process could not unmap the artifact.
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
