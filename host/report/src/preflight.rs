//! Errors of a preflight, which tries an artifact out in a child process.

use crate::{
    HookError, PreflightStep, StageError,
    remedies::{self, Purpose},
    remedy_of_loader,
};
use reslot_artifact::lint::LintError;
use std::{fmt, io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why an artifact did not pass its preflight.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::PreflightError;
///
/// let error = PreflightError::Program {
///     tried: vec!["/opt/desk/bin/reslot-preflight".into()],
///     why: "there is no such file".to_owned(),
///     source: None,
/// };
/// assert!(!error.blames_the_artifact());
/// assert!(error.remedy().contains("cargo install"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// The program that runs preflights is missing or cannot be run.
    #[error("the preflight's program {} cannot be run: {why}", Paths(.tried))]
    Program {
        /// The paths where the host looked for it.
        tried: Vec<PathBuf>,
        /// What is wrong.
        why: String,
        /// The system's reason, if it refused to start the program.
        source: Option<io::Error>,
    },
    /// The program is of another build of Reslot than this host.
    #[error("the preflight's program {program:?} is of another build than this host\n  host: {ours}\n  program: {theirs}")]
    OtherBuild {
        /// The program.
        program: PathBuf,
        /// The build of this host.
        ours: String,
        /// The build that the program reports.
        theirs: String,
    },
    /// The artifact crashed the child process.
    #[error("it crashed a child process at {step}, with {}{}", Signal(*.signal), LastWords(.last_words))]
    Crashed {
        /// The step.
        step: PreflightStep,
        /// The signal's number.
        signal: i32,
        /// The end of what the child printed, from its last 4 KiB.
        last_words: String,
    },
    /// The artifact ended the child process, as it would have ended the host.
    #[error("it ended a child process at {step}, with exit code {code}{}", LastWords(.last_words))]
    Exited {
        /// The step.
        step: PreflightStep,
        /// The exit code.
        code: i32,
        /// The end of what the child printed, from its last 4 KiB.
        last_words: String,
    },
    /// The artifact did not finish in time, and the child process was killed.
    #[error("it was still at {step} when the {after:?} of its preflight were over{}", LastWords(.last_words))]
    Hung {
        /// The step.
        step: PreflightStep,
        /// The time limit of the whole preflight.
        after: Duration,
        /// The end of what the child printed, from its last 4 KiB.
        last_words: String,
    },
    /// The loader, a check of the host, or a hook of the plugin refused it.
    #[error("it was refused in a child process at {step}: {reason}")]
    Refused {
        /// The step.
        step: PreflightStep,
        /// Their message.
        reason: String,
    },
    /// The current state cannot be handed over to it, because of the state's content.
    #[error("it was refused in a child process at {step}, because of the state: {error}")]
    State {
        /// The step.
        step: PreflightStep,
        /// What is wrong with the state.
        error: HookError,
    },
    /// Its health check reported a failure.
    #[error("in a child process it was not healthy: {message}")]
    Unhealthy {
        /// Its message.
        message: String,
    },
    /// The program did not speak the protocol of preflights.
    #[error("the preflight's program {program:?} did not answer as a preflight does: {heard:?}")]
    Protocol {
        /// The program.
        program: PathBuf,
        /// The beginning of its answer.
        heard: String,
    },
    /// The system refused something that the preflight itself needs.
    #[error("the preflight could not {doing}: {source}")]
    Io {
        /// The step.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The artifact could not be read or copied.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Its bytes are not an artifact that a host of this build may open.
    #[error(transparent)]
    Lint(#[from] LintError),
}

impl PreflightError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Program {
                source: Some(source), ..
            } if !remedies::is_about_the_file(source) => remedies::of(source, Purpose::Preflight),
            Self::Program { why, .. } if why.starts_with(NOT_BEGUN) => {
                "load the artifact again, if the system was short of memory for a moment; otherwise build the program again with `cargo build -p \
                 reslot --bin reslot-preflight`, on a system with the same libc"
            }
            Self::Program { .. } => {
                "build it with `cargo build -p reslot --bin reslot-preflight`, or install it with `cargo install --path host`, and name it in \
                 `Preflight::program` or RESLOT_PREFLIGHT, or put it beside the host's program"
            }
            Self::OtherBuild { .. } => "build it again from the same sources and with the same compiler as the host",
            Self::Crashed { signal: libc::SIGKILL, .. } => {
                "only the system or another process sends this signal: look whether memory ran out (`dmesg`, MemoryMax= of \
                     a systemd unit), and load it again"
            }
            Self::Crashed {
                signal: libc::SIGTERM | libc::SIGHUP | libc::SIGINT | libc::SIGQUIT,
                ..
            } => "find out which process ended the child process, and load it again: this signal comes from outside, \
                 unless the plugin sends it itself",
            Self::Crashed { signal: libc::SIGSYS, .. } => {
                "a sandbox of the host forbids a system call that the plugin makes: allow it, or change the plugin so that \
                     it does not need it"
            }
            Self::Crashed {
                signal: libc::SIGXCPU | libc::SIGXFSZ,
                ..
            } => "raise the limit that the process has (`ulimit -t`, `ulimit -f`), or let the plugin do less",
            Self::Crashed { .. } => "fix the plugin: it would have crashed the host; its last output, or a debugger on \
                 `reslot-preflight FILE`, shows where",
            Self::Exited { .. } => "change the plugin to return an error where it ends the process: it would have ended \
                 the host",
            Self::Hung {
                step: PreflightStep::Begin,
                ..
            } => "raise `Preflight::timeout`, or reduce the load of the machine: no code of the plugin had run yet",
            Self::Hung { .. } => {
                "move long work from static constructors, `default` and `drop` into `start`; or raise `Preflight::timeout`"
            }
            Self::State { error, .. } => error.remedy_for_state().unwrap_or("fix the plugin and publish it again"),
            Self::Refused {
                step: PreflightStep::Restore | PreflightStep::Migrate,
                ..
            } => "give new fields of the state #[serde(default)], and keep the names and types of those that stay",
            Self::Refused {
                step: PreflightStep::Open,
                reason,
            } => remedy_of_loader(reason),
            Self::Refused {
                step: PreflightStep::Verify,
                ..
            } => {
                "rebuild the plugin with the host's version of reslot-plugin-api, and make thread-locals, keys and threads in `start` or later, not in \
                 static constructors"
            }
            Self::Refused { .. } | Self::Unhealthy { .. } => "fix the plugin and publish it again",
            Self::Protocol { .. } => {
                "set `Preflight::program` and RESLOT_PREFLIGHT to reslot-preflight itself; if they are, a plugin has \
                     written to a descriptor that it did not open"
            }
            Self::Io { source, .. } => remedies::of(source, Purpose::Preflight),
            Self::Stage(error) => error.remedy(),
            Self::Lint(error) => return error.remedy().to_string(),
        }
        .to_owned()
    }

    /// Whether the artifact is the cause, so that the same bytes would fail again.
    #[must_use]
    pub fn blames_the_artifact(&self) -> bool {
        match self {
            Self::Hung { step, .. } => *step != PreflightStep::Begin,
            // These signals come from outside.
            Self::Crashed {
                signal: libc::SIGKILL | libc::SIGTERM | libc::SIGHUP | libc::SIGINT | libc::SIGQUIT,
                ..
            } => false,
            // A library that the loader misses may be installed later.
            Self::Refused {
                step: PreflightStep::Open,
                ..
            } => false,
            Self::State { error, .. } => matches!(error, HookError::NotCarried(_)),
            Self::Crashed { .. } | Self::Exited { .. } | Self::Refused { .. } | Self::Unhealthy { .. } | Self::Lint(_) => {
                true
            }
            Self::Program { .. } | Self::OtherBuild { .. } | Self::Protocol { .. } | Self::Io { .. } | Self::Stage(_) => {
                false
            }
        }
    }

    /// The program has ended before it said anything.
    pub fn not_begun(program: PathBuf, status: ExitStatus, last_words: &str) -> Self {
        // Without a hello no code of the artifact has run.
        let words = match last_words.trim() {
            "" => String::new(),
            words => format!("; it printed {words:?}"),
        };
        Self::Program {
            why: format!("{NOT_BEGUN} ({status}){words}"),
            tried: vec![program],
            source: None,
        }
    }

    /// The system refused something that the preflight itself needs.
    pub fn io(doing: &'static str, source: io::Error) -> Self {
        Self::Io { doing, source }
    }
}

/// How the reason of such an end begins.
const NOT_BEGUN: &str = "it ended before its first message";

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        self.0.iter().try_for_each(|path| {
            write!(f, "{before}{path:?}")?;
            before = " or ";
            Ok(())
        })
    }
}

struct Signal(i32);

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            libc::SIGABRT => "SIGABRT",
            libc::SIGBUS => "SIGBUS",
            libc::SIGFPE => "SIGFPE",
            libc::SIGILL => "SIGILL",
            libc::SIGKILL => "SIGKILL",
            libc::SIGPIPE => "SIGPIPE",
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGSYS => "SIGSYS",
            libc::SIGTERM => "SIGTERM",
            libc::SIGTRAP => "SIGTRAP",
            number => return write!(f, "signal {number}"),
        };
        write!(f, "{name} (signal {})", self.0)
    }
}

struct LastWords<'a>(&'a str);

impl fmt::Display for LastWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim_end() {
            "" => write!(f, "; it printed nothing"),
            words => write!(f, "; its last output:\n    {}", words.replace('\n', "\n    ")),
        }
    }
}
