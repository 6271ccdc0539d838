//! The error of a call into a plugin. Refusals of artifacts are the host's own errors and do not live here.

use crate::Backtrace;
use std::fmt;

/// A call that did not come back with a value: the plugin's code failed, the host and the caller did not.
///
/// One pointer in size, so that `Result<(), CallError>` travels in a register and a call that succeeds pays nothing for it.
pub struct CallError(Box<Content>);

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
        /// The panic's message.
        message: String,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from. Nothing is looked up until it is asked for its frames.
        backtrace: Backtrace,
    },
    /// The view was taken before the slot existed, or belongs to another host: take a new one.
    Vacant,
    /// The host was dropped. Views and claims that were taken before go on working.
    HostEnded,
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
            Fault::HostEnded => write!(f, "slot {slot:?}: `{method}` was called, but the slot's host was dropped"),
            Fault::Vacant => write!(
                f,
                "slot {slot:?}: `{method}` was called through a view that is older than the slot; take a new view"
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
