//! The hooks of a plugin, and why one of them failed.

use reslot_plugin_api::{Backtrace, MAX_STATE_LEVELS};
use std::{fmt, sync::Arc, time::Duration};

/// A hook of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// The constructor, `Default::default`.
    Create,
    /// Encoding the old instance's state.
    Snapshot,
    /// Decoding the state in the new instance.
    Restore,
    /// `Plugin::migrate`, of the newer of the two generations.
    Migrate,
    /// `Plugin::on_config`.
    OnConfig,
    /// `Plugin::on_resource`.
    OnResource,
    /// `Plugin::init`.
    Init,
    /// `Plugin::start`.
    Start,
    /// `Plugin::health`.
    Health,
    /// `Plugin::stop`, of what serves, for the sake of its successor.
    Stop,
}

impl Hook {
    /// A short word for a failure of this hook, such as `hook_start`, as it stands in the labels of metrics.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Create => "hook_create",
            Self::Snapshot => "hook_snapshot",
            Self::Restore => "hook_restore",
            Self::Migrate => "hook_migrate",
            Self::Init => "hook_init",
            Self::Start => "hook_start",
            Self::Health => "hook_health",
            Self::Stop => "hook_stop",
            Self::OnConfig => "hook_on_config",
            Self::OnResource => "hook_on_resource",
        }
    }

    /// What its author calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "constructor",
            Self::Snapshot => "`Serialize`",
            Self::Restore => "`Deserialize`",
            Self::Migrate => "`migrate`",
            Self::OnConfig => "`on_config`",
            Self::OnResource => "`on_resource`",
            Self::Init => "`init`",
            Self::Start => "`start`",
            Self::Health => "`health`",
            Self::Stop => "`stop`",
        }
    }
}

/// Why a hook of a plugin refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// It answered `Err`, with these words. Longer ones than 16 KiB are cut there, and end with how many bytes are missing.
    Refused(String),
    /// It panicked; the panic was contained.
    Panicked {
        /// The panic's message. One that is longer than 16 KiB is cut there, and ends with how many bytes are missing.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// Where it came from.
        backtrace: Backtrace,
    },
    /// It did not come back in this time. It still runs, and its image stays mapped until it comes back.
    TookTooLong(Duration),
    /// The state is nested deeper than a state may be.
    TooDeep {
        /// How many levels it may have.
        most: u32,
    },
    /// To encode or decode the state takes more stack than there is.
    StackTooSmall {
        /// How many bytes of stack there are for it.
        bytes: usize,
        /// Why the system did not even give those, if that is so.
        system: Option<String>,
    },
    /// serde does not carry a value of the state from one build to the next; the words name it.
    NotCarried(String),
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, location, backtrace) = match self {
            Self::Refused(reason) => return f.write_str(reason),
            Self::NotCarried(reason) => return f.write_str(reason),
            Self::TookTooLong(most) => return write!(f, "it did not come back within {most:?}"),
            Self::TooDeep { most } => return write!(f, "it is nested deeper than the {most} levels that a state may have"),
            Self::StackTooSmall { bytes, system } => {
                let mib = bytes >> 20;
                return match system {
                    None => write!(f, "that takes more than the {mib} MiB of stack that there are for a state"),
                    Some(system) => write!(
                        f,
                        "it is nested deeply, and a thread with {mib} MiB of stack for it could not be had: {system}"
                    ),
                };
            }
            Self::Panicked {
                message,
                location,
                backtrace,
            } => (message, location, backtrace),
        };
        write!(f, "it panicked: {message}")?;
        if let Some(location) = location {
            write!(f, " (at {location})")?;
        }
        match f.alternate() && !backtrace.is_empty() {
            true => write!(f, "\n{backtrace}"),
            false => Ok(()),
        }
    }
}

impl std::error::Error for HookError {}

impl HookError {
    /// What can be done where the state itself is the reason, and neither the code of the hook nor the form of the state.
    pub fn remedy_for_state(&self) -> Option<&'static str> {
        match self {
            Self::TooDeep { most } if *most < MAX_STATE_LEVELS => Some(
                "build the plugin with the host's version of reslot-plugin-api, which takes more levels; or make the state less deep",
            ),
            Self::TooDeep { .. } => Some(
                "make the state less deep: keep what is nested side by side in a `Vec`, and let one name the other by its index",
            ),
            Self::StackTooSmall { system: None, .. } => {
                Some("make the state less deep, or its structs smaller: put large arrays into a `Box` or a `Vec`")
            }
            Self::StackTooSmall { system: Some(_), .. } => Some(
                "allow the process more addresses (`ulimit -v`), more memory to be promised (`vm.overcommit_memory`) or more threads; or make \
                 the state less deep",
            ),
            Self::NotCarried(_) => Some(
                "change the type of what is named, or give it `#[serde(with = …)]`, which can write it as a text or as bytes",
            ),
            Self::Refused(_) | Self::Panicked { .. } | Self::TookTooLong(_) => None,
        }
    }

    /// The same with what it is about.
    pub fn about(self, what: &str) -> Self {
        match self {
            Self::Refused(reason) => Self::Refused(format!("{what:?}: {reason}")),
            other => other,
        }
    }

    /// Where the plugin panicked, if that is what happened.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match self {
            Self::Panicked { backtrace, .. } => Some(backtrace),
            _ => None,
        }
    }
}
