//! The settings and the input of a preflight, which tries an artifact out before the host opens it.

use reslot_artifact::manifest::Manifest;
use std::{path::PathBuf, time::Duration};

/// How artifacts are tried out before the host opens them: in a child process, `reslot-preflight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// The program. `None`: the path in the environment variable `RESLOT_PREFLIGHT`, or else `reslot-preflight` beside the running program
    /// or one folder above, where cargo puts it. It must be built from the same sources of Reslot as the host.
    pub program: Option<PathBuf>,
    /// How long the preflight may take, from the start of the child to its last message. Default: 5 s.
    pub timeout: Duration,
}

impl Default for Preflight {
    fn default() -> Self {
        Self {
            program: None,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The artifact that a preflight tries out.
pub struct PreflightCandidate<'a> {
    /// The artifact's slot.
    pub slot: &'a str,
    /// Its future generation number, for messages.
    pub generation: u64,
    /// The manifest that the lint has read.
    pub manifest: &'a Manifest,
}
