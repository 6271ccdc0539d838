//! The settings of this engine.

use crate::task::Bounds;
use reslot_engine::Checkpoint;
use std::{path::PathBuf, time::Duration};

/// Runs each plugin of a slot in a child process of its own, behind the same typed interface. Give it to `HostBuilder::engine`.
///
/// ```
/// use reslot_process::{Checkpoint, Process, Sandbox};
/// use std::time::Duration;
///
/// let engine = Process::new()
///     .sandbox(Sandbox::strict())
///     .call_deadline(Duration::from_millis(50))
///     .memory(256 << 20)
///     .checkpoint(Checkpoint::EveryCalls(100));
/// # let _ = engine;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Process(pub(crate) Settings);

/// What was set.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) bounds: Bounds,
    pub(crate) call_deadline: Duration,
    pub(crate) hook_deadline: Duration,
    pub(crate) spin: Duration,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) message_bytes: usize,
    pub(crate) program: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            call_deadline: Duration::from_secs(1),
            hook_deadline: Duration::from_secs(10),
            spin: Duration::ZERO,
            checkpoint: Checkpoint::Never,
            message_bytes: 64 << 20,
            program: None,
        }
    }
}

/// What the kernel forbids a plugin's process, from before the plugin's first instruction on.
///
/// ```
/// use reslot_process::Sandbox;
///
/// let pricer = Sandbox::strict().best_effort().readable("/usr/share/zoneinfo");
/// assert_ne!(pricer, Sandbox::none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox(Bounds);

impl Sandbox {
    /// Nothing is forbidden.
    #[must_use]
    pub fn none() -> Self {
        Self(Bounds::default())
    }

    /// No files but the system's libraries, which can be read; no network; no new processes; no signals to others; no system calls that a computing
    /// plugin does not need. An attempt to start a process, to open a socket, to signal another process or to change privileges ends the process with
    /// `SIGSYS`; other forbidden system calls fail with `ENOSYS`. A kernel without landlock is refused.
    #[must_use]
    pub fn strict() -> Self {
        Self(Bounds {
            sandbox: true,
            ..Bounds::default()
        })
    }

    /// On a kernel without landlock the plugin runs nevertheless, and can reach files. A warning says so.
    #[must_use]
    pub fn best_effort(mut self) -> Self {
        self.0.best_effort = true;
        self
    }

    /// Lets the plugin read this file, or all files in this folder.
    #[must_use]
    pub fn readable(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.readable.push(path.into());
        self
    }

    /// As on a kernel without landlock.
    #[doc(hidden)]
    #[must_use]
    pub fn without_landlock(mut self) -> Self {
        self.0.without_landlock = true;
        self
    }
}

impl Process {
    /// Without a sandbox, with a deadline of 1 s for calls.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the kernel forbids the plugin. Default: [`Sandbox::none`].
    #[must_use]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        let memory = self.0.bounds.memory;
        self.0.bounds = Bounds { memory, ..sandbox.0 };
        self
    }

    /// How long the plugin may run in one call; time in objects of the caller does not count. After that the process is killed. Default: 1 s.
    #[must_use]
    pub fn call_deadline(mut self, limit: Duration) -> Self {
        self.0.call_deadline = limit;
        self
    }

    /// The same for a hook. Default: 10 s.
    #[must_use]
    pub fn hook_deadline(mut self, limit: Duration) -> Self {
        self.0.hook_deadline = limit;
        self
    }

    /// How many bytes of private memory the process may have; more than an empty process has, which is less than 16 MiB. Default: no limit.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.0.bounds.memory = Some(bytes);
        self
    }

    /// How long a side waits in a loop for the other one before it sleeps. A call is several times as fast then, and uses two processors.
    /// Default: not at all.
    #[must_use]
    pub fn spin(mut self, time: Duration) -> Self {
        self.0.spin = time;
        self
    }

    /// When the plugin's state is saved. Default: [`Checkpoint::Never`].
    #[must_use]
    pub fn checkpoint(mut self, when: Checkpoint) -> Self {
        self.0.checkpoint = when;
        self
    }

    /// The longest message: the arguments of a call, its result, or a state. Default: 64 MiB.
    #[must_use]
    pub fn message_bytes(mut self, most: usize) -> Self {
        self.0.message_bytes = most;
        self
    }

    /// The child's program. Default: the path in the environment variable `RESLOT_CHILD`, or else `reslot-child` beside the running program or one
    /// folder above. It must be built from the same version of Reslot and with the same compiler as the host.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.program = Some(path.into());
        self
    }
}
