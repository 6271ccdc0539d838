//! The errors of calls into a plugin and of a plugin's hooks. Refusals of artifacts are errors of the host.

use crate::Backtrace;
use std::{fmt, sync::Arc, time::Duration};

/// The error of a hook. Many types convert into it with `?` or `.into()`.
pub type PluginError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a failed call: the plugin's code failed, not the host or the caller.
///
/// One pointer in size, so that `Result<(), CallError>` travels in a register and a call that succeeds pays nothing for it.
/// It is cheap to clone, because clones share the panic's message and backtrace.
///
/// ```
/// use reslot_plugin_api::{CallError, Fault};
///
/// /// What a loop says of a call that failed. The loop goes on.
/// fn describe(error: &CallError) -> String {
///     match error.fault() {
///         Fault::Panicked { message, .. } => format!("{} generation {}: {message}", error.slot(), error.generation()),
///         fault => format!("`{}` was not called: {fault:?}", error.method()),
///     }
/// }
/// # let error = CallError::new("greeter", 3, "greet", Fault::Unloaded);
/// # assert_eq!(describe(&error), "`greet` was not called: Unloaded");
/// # assert!(error.backtrace().is_none());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct CallError(Box<Content>);

#[derive(Clone, PartialEq, Eq)]
struct Content {
    slot: String,
    generation: u64,
    method: &'static str,
    fault: Fault,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The plugin panicked. The panic was caught at the boundary. The instance keeps all changes that it made before the
    /// panic, like a value behind a lock after a panic in Rust.
    Panicked {
        /// The panic's message. A message longer than 16 KiB is cut there, and ends with the number of missing bytes. If the
        /// payload is not a text, the message says so.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// The backtrace of the panic. Names are looked up only when its frames are read.
        backtrace: Backtrace,
    },
    /// The view was taken before the slot existed, or belongs to another host: take a new one. For a plugin that calls
    /// another one: that slot is still empty.
    Vacant,
    /// The slot was unloaded, and is empty until a build is loaded.
    Unloaded,
    /// The host was dropped. Views and claims that were taken before still work.
    HostEnded,
    /// The call was made in a forked child of the process in which the host was built, and needs a lock of the host, which
    /// may stay locked there. Fork before the host is built.
    ForkedProcess,
    /// A plugin called another one whose slot is claimed, so only its owner may call it.
    Claimed,
    /// A hook called, directly or through other plugins, a generation whose state is being handed over: `start` of the candidate that gets the
    /// state, for instance, or the `Serialize` of the old state.
    HandingOver,
    /// The plugin runs in a sandbox or in a process of its own, and the call could not be carried there or back. The instance lives.
    NotCarried {
        /// What the engine says.
        reason: String,
    },
    /// The plugin ran in a sandbox or in a process of its own, and its instance has ended: in this call or before it. The host replaces it.
    InstanceEnded(InstanceEnd),
}

/// How an instance ended that ran in a sandbox or in a process of its own.
///
/// ```
/// use reslot_plugin_api::{EndCause, InstanceEnd};
/// use std::time::Duration;
///
/// let end = InstanceEnd::new(EndCause::Deadline { limit: Duration::from_millis(5) }, 3);
/// assert_eq!(
///     end.to_string(),
///     "a call or a hook took longer than the 5ms that its engine allows; the effects of 3 calls on its state are lost"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceEnd {
    /// Why it ended.
    pub cause: EndCause,
    /// The number of completed calls since its state was saved last: their effects on the state are lost. For a plugin that calls another one the
    /// number is in the text of [`EndCause::Other`], and this is 0.
    pub lost_calls: u64,
}

/// Why an instance ended that ran in a sandbox or in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndCause {
    /// A call or a hook took longer than its engine allows, so the engine ended it.
    Deadline {
        /// The time that the engine allows.
        limit: Duration,
    },
    /// The code did what its sandbox does not allow, or panicked where nothing catches it.
    Trap {
        /// The sandbox's words.
        what: String,
    },
    /// It needed more memory than its engine allows.
    MemoryLimit {
        /// The number of bytes that the engine allows.
        bytes: u64,
    },
    /// A signal ended its process.
    Signal {
        /// The number of the signal, such as 11 for `SIGSEGV`.
        signal: i32,
        /// The end of what it wrote to the standard error stream; may be empty.
        last_words: String,
    },
    /// Its process exited.
    Exited {
        /// The exit code.
        code: i32,
        /// The end of what it wrote to the standard error stream; may be empty.
        last_words: String,
    },
    /// What came from it was no valid answer.
    Protocol {
        /// What was wrong.
        what: String,
    },
    /// Another reason, in words. A plugin that calls another one gets every reason in this form.
    Other {
        /// The words.
        what: String,
    },
}

impl InstanceEnd {
    /// An instance has ended for this reason.
    #[must_use]
    pub fn new(cause: EndCause, lost_calls: u64) -> Self {
        Self { cause, lost_calls }
    }
}

impl fmt::Display for InstanceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        match self.lost_calls {
            0 => Ok(()),
            1 => write!(f, "; the effect of 1 call on its state is lost"),
            calls => write!(f, "; the effects of {calls} calls on its state are lost"),
        }
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last_words = match self {
            Self::Deadline { limit } => {
                return write!(f, "a call or a hook took longer than the {limit:?} that its engine allows");
            }
            Self::Trap { what } => return write!(f, "the sandbox ended it: {what}"),
            Self::MemoryLimit { bytes } => {
                return write!(f, "it needed more than the {bytes} bytes of memory that its engine allows");
            }
            Self::Protocol { what } => return write!(f, "what it answered is invalid: {what}"),
            Self::Other { what } => return f.write_str(what),
            Self::Signal { signal, last_words } => {
                write!(f, "signal {signal} ended its process")?;
                last_words
            }
            Self::Exited { code, last_words } => {
                write!(f, "its process exited with code {code}")?;
                last_words
            }
        };
        match last_words.trim_end() {
            "" => Ok(()),
            words => write!(f, "; the last that it wrote: {words}"),
        }
    }
}

impl CallError {
    #[doc(hidden)]
    #[cold]
    pub fn new(slot: &str, generation: u64, method: &'static str, fault: Fault) -> Self {
        Self(Box::new(Content {
            slot: slot.to_owned(),
            generation,
            method,
            fault,
        }))
    }

    /// The slot that was called.
    pub fn slot(&self) -> &str {
        &self.0.slot
    }

    /// The generation that was called.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The method that was called.
    pub fn method(&self) -> &'static str {
        self.0.method
    }

    /// What happened.
    pub fn fault(&self) -> &Fault {
        &self.0.fault
    }

    /// Where the plugin panicked, if it did. `{error:#}` prints it after the message.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match &self.0.fault {
            Fault::Panicked { backtrace, .. } => Some(backtrace),
            _ => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Content {
            slot,
            generation,
            method,
            fault,
        } = &*self.0;
        match fault {
            Fault::Panicked {
                message,
                location,
                backtrace,
            } => {
                write!(f, "slot {slot:?}: generation {generation} panicked in `{method}`: {message}")?;
                if let Some(location) = location {
                    write!(f, " (at {location})")?;
                }
                match f.alternate() && !backtrace.is_empty() {
                    true => write!(f, "\n{backtrace}"),
                    false => Ok(()),
                }
            }
            Fault::Unloaded => write!(
                f,
                "slot {slot:?}: `{method}` was called, but the slot was unloaded; publish a build, or load one, and take a new view"
            ),
            Fault::HostEnded => write!(f, "slot {slot:?}: `{method}` was called, but the slot's host was dropped"),
            Fault::ForkedProcess => write!(
                f,
                "slot {slot:?}: `{method}` was called in a forked child of the process in which the host was built; fork before the host is \
                 built, or build a host of its own in this process"
            ),
            Fault::Claimed => write!(
                f,
                "slot {slot:?}: `{method}` was called by another plugin, but the slot is claimed, and only its owner calls it"
            ),
            Fault::HandingOver => write!(
                f,
                "slot {slot:?}: `{method}` was called by a hook during the hand-over of generation {generation}'s state, directly or through \
                 other plugins; call it from a method or a thread instead"
            ),
            Fault::NotCarried { reason } => write!(
                f,
                "slot {slot:?}: the call of `{method}` did not reach generation {generation}, or its answer did not come back: {reason}"
            ),
            Fault::InstanceEnded(end) => {
                write!(
                    f,
                    "slot {slot:?}: `{method}` failed, because the instance of generation {generation} has ended: {end}"
                )
            }
            Fault::Vacant => write!(
                f,
                "slot {slot:?}: `{method}` was called through a view that is older than the slot (take a new view), or nothing serves there \
                 yet"
            ),
        }
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallError")
            .field("slot", &self.0.slot)
            .field("generation", &self.0.generation)
            .field("method", &self.0.method)
            .field("fault", &self.0.fault)
            .finish()
    }
}

impl std::error::Error for CallError {}
