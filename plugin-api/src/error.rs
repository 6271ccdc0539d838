//! The error of a call into a plugin, and that of a plugin's hook. Refusals of artifacts are the host's own errors and do not live here.

use crate::Backtrace;
use std::{fmt, sync::Arc};

/// Why a hook refused. Anything that converts with `?` or `.into()`.
pub type PluginError = Box<dyn std::error::Error + Send + Sync>;

/// A call that did not come back with a value: the plugin's code failed, the host and the caller did not.
///
/// One pointer in size, so that `Result<(), CallError>` travels in a register and a call that succeeds pays nothing for it. Cheap to
/// clone: copies share the panic's message and its backtrace.
#[derive(Clone, PartialEq, Eq)]
pub struct CallError(Box<Content>);

#[derive(Clone, PartialEq, Eq)]
struct Content {
    slot: String,
    generation: u64,
    method: &'static str,
    fault: Fault,
}

/// Why a call did not come back with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The plugin panicked. The panic was contained at the boundary; the instance goes on living with whatever it had
    /// changed by then, as a value behind a lock does after a panic elsewhere in Rust.
    Panicked {
        /// The panic's message. One that is longer than 16 KiB is cut there, and ends with how many bytes are missing. If what the plugin
        /// panicked with is no text, this says so.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from. Nothing is looked up until it is asked for its frames.
        backtrace: Backtrace,
    },
    /// The view was taken before the slot existed, or belongs to another host: take a new one. To a plugin that calls another: nothing
    /// serves there yet.
    Vacant,
    /// The slot was unloaded, and nothing serves in it until a build is loaded there again.
    Unloaded,
    /// The host was dropped. Views and claims that were taken before go on working.
    HostEnded,
    /// The call is made in a forked child of the process in which the host was built, and would have to wait for a lock of the host's,
    /// which may never be free there. Fork before the host is built.
    ForkedProcess,
    /// A plugin called another whose slot is claimed: its owner alone may call it.
    Claimed,
    /// A hook of a candidate called, by way of other plugins or directly, the generation whose state it is taking over.
    HandingOver,
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

    /// Where the plugin panicked, if that is what happened. `{error:#}` prints it after the error's words.
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
                "slot {slot:?}: `{method}` was called by the `start` of the candidate that takes generation {generation}'s state \
                 over, directly or through other plugins; call it from a method or a thread instead"
            ),
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
