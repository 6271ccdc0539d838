//! The hooks of a plugin, and why one of them failed.

use crate::Step;
use reslot_plugin_api::{Backtrace, InstanceEnd, MAX_STATE_LEVELS};
use std::{fmt, sync::Arc, time::Duration};

/// A hook of a plugin.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::{Hook, Step};
///
/// assert_eq!((Hook::Start.name(), Hook::Start.kind()), ("`start`", "hook_start"));
/// assert_eq!(Hook::Restore.step(), Step::Migrate);
/// ```
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
    /// `Plugin::stop` of the current generation, so that its successor can start.
    Stop,
}

impl Hook {
    /// A short word for a failure of this hook, such as `hook_start`. Labels of metrics use it.
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

    /// The step of a reload in which it is called.
    pub fn step(self) -> Step {
        match self {
            Self::Create => Step::Create,
            // An exclusive generation is stopped after it has encoded its state.
            Self::Snapshot | Self::Stop => Step::Snapshot,
            Self::Restore | Self::Migrate => Step::Migrate,
            Self::OnConfig | Self::OnResource | Self::Init => Step::Init,
            Self::Start => Step::Start,
            Self::Health => Step::Health,
        }
    }

    /// The name that plugin authors know it by.
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

/// Why a hook of a plugin failed.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::HookError;
///
/// let error = HookError::Refused("no connection to the exchange".to_owned());
/// assert_eq!(error.to_string(), "no connection to the exchange");
/// assert!(error.backtrace().is_none()); // only a panic has one
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// It returned `Err` with this text. A text longer than 16 KiB is cut there, and ends with the number of missing bytes.
    Refused(String),
    /// It panicked; the panic was contained.
    Panicked {
        /// The panic's message. A message longer than 16 KiB is cut there, and ends with the number of missing bytes.
        message: Arc<str>,
        /// `file:line:column` in the plugin's source.
        location: Option<String>,
        /// The backtrace of the panic.
        backtrace: Backtrace,
    },
    /// It did not return within this time. It still runs, and its image stays mapped until it returns.
    TookTooLong(Duration),
    /// The state is nested deeper than a state may be.
    TooDeep {
        /// The highest number of levels.
        most: u32,
    },
    /// Encoding or decoding the state needs more stack than the host provides.
    StackTooSmall {
        /// The bytes of stack that the host provides.
        bytes: usize,
        /// The system's reason, if it did not provide that stack.
        system: Option<String>,
    },
    /// serde cannot carry a value of the state from one build to the next; the text names the value.
    NotCarried(String),
    /// The instance ran in a sandbox or in a process of its own, and has ended, in this hook or before it.
    InstanceEnded(InstanceEnd),
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, location, backtrace) = match self {
            Self::Refused(reason) => return f.write_str(reason),
            Self::NotCarried(reason) => return f.write_str(reason),
            Self::InstanceEnded(end) => return write!(f, "the instance has ended: {end}"),
            Self::TookTooLong(most) => return write!(f, "it did not return within {most:?}"),
            Self::TooDeep { most } => return write!(f, "it is nested deeper than the {most} levels that a state may have"),
            Self::StackTooSmall { bytes, system } => {
                let mib = bytes >> 20;
                return match system {
                    None => write!(f, "that needs more than the {mib} MiB of stack that a state may use"),
                    Some(system) => write!(
                        f,
                        "it is nested deeply, and the system refused a thread with {mib} MiB of stack for it: {system}"
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
    /// What to do if the cause is the state itself, and neither the code of the hook nor the type of the state.
    pub fn remedy_for_state(&self) -> Option<&'static str> {
        match self {
            Self::TooDeep { most } if *most < MAX_STATE_LEVELS => Some(
                "build the plugin with the host's version of reslot-plugin-api, which takes more levels; or make the state less deep",
            ),
            Self::TooDeep { .. } => {
                Some("make the state less deep: keep nested values in one `Vec`, and refer to them by index")
            }
            Self::StackTooSmall { system: None, .. } => {
                Some("make the state less deep, or its structs smaller: put large arrays into a `Box` or a `Vec`")
            }
            Self::StackTooSmall { system: Some(_), .. } => Some(
                "raise the process's limits for addresses (`ulimit -v`), for reserved memory (`vm.overcommit_memory`) or \
                     for threads; or make the state less deep",
            ),
            Self::NotCarried(_) => {
                Some("change the type of the named value, or give it `#[serde(with = …)]` that writes it as text or bytes")
            }
            Self::Refused(_) | Self::Panicked { .. } | Self::TookTooLong(_) | Self::InstanceEnded(_) => None,
        }
    }

    /// The same error, with the name of the resource it is about.
    pub fn about(self, what: &str) -> Self {
        match self {
            Self::Refused(reason) => Self::Refused(format!("{what:?}: {reason}")),
            other => other,
        }
    }

    /// Where the plugin panicked, if it did.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match self {
            Self::Panicked { backtrace, .. } => Some(backtrace),
            _ => None,
        }
    }
}
