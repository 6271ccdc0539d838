//! What the host asks of a child, and what the child answers, beside the messages of the channel.

use reslot_native::preflight::build;
use serde::{Deserialize, Serialize};
use std::{ffi::OsString, path::PathBuf};

/// The version of this protocol, raised with each change of it.
const PROTOCOL: u32 = 1;

/// The identity of a build, which must be equal on both sides.
pub(crate) fn identity() -> String {
    format!("{}, process protocol {PROTOCOL}", build())
}

/// What the child is to open, and within which bounds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) build: String,
    /// The linted copy.
    pub(crate) copy: OsString,
    /// The manifest as text, so that JSON in JSON does not reach the parser's recursion limit earlier than in the host.
    pub(crate) manifest: String,
    pub(crate) slot: String,
    pub(crate) generation: u64,
    pub(crate) bounds: Bounds,
}

/// What the kernel forbids the child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Whether files, network, processes and signals are out of reach.
    pub(crate) sandbox: bool,
    /// Whether a kernel without landlock is good enough.
    pub(crate) best_effort: bool,
    /// What may be read in spite of that.
    pub(crate) readable: Vec<PathBuf>,
    /// How much private memory it may have.
    pub(crate) memory: Option<u64>,
    /// For tests: as if the kernel had no landlock.
    pub(crate) without_landlock: bool,
}

/// How the child has opened the artifact.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Opening {
    /// It can make instances.
    Done {
        /// What became of the sandbox.
        files: Enforced,
    },
    /// It could not restrict itself as it was asked to.
    NoSandbox { why: String },
    /// It was built from other sources than the host.
    OtherBuild { build: String },
    /// The artifact could not be opened.
    Refused { why: String, blames_the_artifact: bool },
}

/// How far the kernel restricts which files the child can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Enforced {
    /// Nobody asked for it.
    NotAsked,
    /// Everything that was asked for.
    Fully,
    /// An older kernel, which does not know all of it.
    Partly,
    /// A kernel without landlock.
    Not,
}

/// A panic of the plugin, as it crosses.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
}
