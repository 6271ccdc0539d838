//! What an artifact, or the child in which it was tried out, can do wrong.

use crate::{
    HookError, PreflightStep, StageError,
    remedies::{self, Purpose},
    remedy_of_loader,
};
use reslot_artifact::lint::LintError;
use std::{fmt, io, path::PathBuf, time::Duration};

/// Why an artifact has not gone through its preflight.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// The program that runs preflights cannot be had.
    #[error("the preflight's program {} cannot be run: {why}", Paths(.tried))]
    Program {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
        /// What is wrong there.
        why: String,
        /// The system's reason, if it refused to start the program.
        source: Option<io::Error>,
    },
    /// The program is of another build of Reslot than this host.
    #[error("the preflight's program {program:?} is of another build than this host\n  host: {ours}\n  program: {theirs}")]
    OtherBuild {
        /// The program.
        program: PathBuf,
        /// What this host is.
        ours: String,
        /// What the program says that it is.
        theirs: String,
    },
    /// The artifact brought the child down.
    #[error("it crashed a child process at {step}, with {}{}", Signal(*.signal), LastWords(.last_words))]
    Crashed {
        /// What was being done.
        step: PreflightStep,
        /// The signal's number.
        signal: i32,
        /// The end of what the child printed, from its last 4 KiB.
        last_words: String,
    },
    /// The artifact ended the child, as it would have ended the host.
    #[error("it ended a child process at {step}, by an exit with code {code}{}", LastWords(.last_words))]
    Exited {
        /// What was being done.
        step: PreflightStep,
        /// The exit code.
        code: i32,
        /// The end of what the child printed, from its last 4 KiB.
        last_words: String,
    },
    /// The artifact did not come back in time, and the child was killed.
    #[error("it had not come back from {step} when the {after:?} of its preflight were over{}", LastWords(.last_words))]
    Hung {
        /// What was being done.
        step: PreflightStep,
        /// How long the whole preflight was allowed to take.
        after: Duration,
        /// The end of what the child printed, from its last 4 KiB.
        last_words: String,
    },
    /// The loader, the host's checks or a hook of the plugin said no.
    #[error("it was refused in a child process at {step}: {reason}")]
    Refused {
        /// What was being done.
        step: PreflightStep,
        /// The words of who refused.
        reason: String,
    },
    /// The state that serves cannot be handed over to it, because of what the state is.
    #[error("it was refused in a child process at {step}, because of the state: {error}")]
    State {
        /// What was being done.
        step: PreflightStep,
        /// What is the matter with the state.
        error: HookError,
    },
    /// It says of itself that it is not well.
    #[error("in a child process it was not healthy: {message}")]
    Unhealthy {
        /// Its words.
        message: String,
    },
    /// The program said something else than a preflight does.
    #[error("the preflight's program {program:?} said what no preflight says: {heard:?}")]
    Protocol {
        /// The program.
        program: PathBuf,
        /// The beginning of it.
        heard: String,
    },
    /// The system refused something that the preflight itself needs.
    #[error("the preflight could not {doing}: {source}")]
    Io {
        /// What was being done.
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
            Self::Program { .. } => {
                "build it with `cargo build -p reslot --bin reslot-preflight`, or install it with `cargo install --path host`, and name it in \
                 `Preflight::program` or RESLOT_PREFLIGHT, or put it beside the host's program"
            }
            Self::OtherBuild { .. } => "build it again from the same sources and with the same compiler as the host",
            Self::Crashed { signal: libc::SIGKILL, .. } => {
                "nobody but the system or another process sends this signal: look whether memory ran out (`dmesg`, MemoryMax= of a systemd \
                 unit), and load it again"
            }
            Self::Crashed {
                signal: libc::SIGTERM | libc::SIGHUP | libc::SIGINT | libc::SIGQUIT,
                ..
            } => "look who ended the child process, and load it again: this signal comes from outside, unless the plugin sends it itself",
            Self::Crashed { signal: libc::SIGSYS, .. } => {
                "a sandbox of the host forbids a system call that the plugin makes: allow it, or let the plugin do without"
            }
            Self::Crashed {
                signal: libc::SIGXCPU | libc::SIGXFSZ,
                ..
            } => "raise the limit that the process has (`ulimit -t`, `ulimit -f`), or let the plugin do less",
            Self::Crashed { .. } => "mend the plugin: it would have crashed the host; its last words, or a debugger on `reslot-preflight FILE`, say where",
            Self::Exited { .. } => "let the plugin return an error where it ends the process: it would have ended the host",
            Self::Hung {
                step: PreflightStep::Begin,
                ..
            } => "raise `Preflight::timeout`, or let the machine have less to do: nothing of the plugin had run yet",
            Self::Hung { .. } => {
                "let static constructors, `default` and `drop` do no work that can wait, and begin that in `start`; or raise `Preflight::timeout`"
            }
            Self::State { error, .. } => error.remedy_for_state().unwrap_or("mend the plugin and publish it again"),
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
            Self::Refused { .. } | Self::Unhealthy { .. } => "mend the plugin and publish it again",
            Self::Protocol { .. } => {
                "let `Preflight::program` and RESLOT_PREFLIGHT name reslot-preflight itself; if they do, a plugin has written to a descriptor that is \
                 not its own"
            }
            Self::Io { source, .. } => remedies::of(source, Purpose::Preflight),
            Self::Stage(error) => error.remedy(),
            Self::Lint(error) => return error.remedy().to_string(),
        }
        .to_owned()
    }

    /// Whether the artifact is at fault, so that the same bytes would fail again, and not the surroundings.
    #[must_use]
    pub fn blames_the_artifact(&self) -> bool {
        match self {
            Self::Hung { step, .. } => *step != PreflightStep::Begin,
            // Sent from outside.
            Self::Crashed {
                signal: libc::SIGKILL | libc::SIGTERM | libc::SIGHUP | libc::SIGINT | libc::SIGQUIT,
                ..
            } => false,
            // What the loader misses may be there the next time.
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

    /// The system refused something that the preflight itself needs.
    pub fn io(doing: &'static str, source: io::Error) -> Self {
        Self::Io { doing, source }
    }
}

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
            "" => write!(f, "; it left no words"),
            words => write!(f, "; its last words:\n    {}", words.replace('\n', "\n    ")),
        }
    }
}
