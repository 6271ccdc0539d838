//! How an artifact is tried out before it is opened, as a host asks an engine for it.

use reslot_artifact::manifest::Manifest;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How artifacts are tried out before the host opens them: in a child process, `reslot-preflight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// The program. `None`: what the environment variable `RESLOT_PREFLIGHT` names, or else `reslot-preflight` beside the running
    /// program or in the folder above, where cargo puts it. It must come of the same build of Reslot as the host.
    pub program: Option<PathBuf>,
    /// How long the whole of it may take, from the start of the child to its last word. Default: 5 s.
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

/// What is to be tried out.
pub struct PreflightCandidate<'a> {
    /// The slot that it is for.
    pub slot: &'a str,
    /// The number that it will have as a generation; for messages.
    pub generation: u64,
    /// Its linted copy, or a link to one in memory. The child opens this very file, so it costs no second copy.
    pub copy: &'a Path,
    /// What the lint has read in it.
    pub manifest: &'a Manifest,
}
