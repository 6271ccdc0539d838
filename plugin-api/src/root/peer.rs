//! How a call from one plugin to another crosses to the host and back. Texts are the host's `RString`s, which the host's
//! destructor drops; texts that are kept are copied first.

use crate::error::{CallError, EndCause, Fault, InstanceEnd};
use abi_stable::{
    StableAbi,
    std_types::{ROption, RString},
};

/// A generation that is held for its caller.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LoadedAbi {
    /// The host's pointer for the hold, which must be released once; null if the slot is empty.
    pub hold: *const (),
    /// The host's pointer for the called generation; valid as long as the hold.
    pub core: *const (),
    /// The instance.
    pub data: *mut (),
    /// Its function table.
    pub table: *const (),
    /// Whether calls go through the host's gate.
    pub gated: bool,
}

/// The function to call inside the gate.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct PassAbi {
    /// Gets `context`, the instance, its table, and the host's name for what is called.
    pub call: unsafe extern "C" fn(context: *mut (), data: *mut (), table: *const (), core: *const ()),
    /// The caller's data.
    pub context: *mut (),
}

/// The error of a call, from the host.
#[repr(C)]
#[derive(StableAbi)]
pub struct FaultAbi {
    kind: u32,
    slot: RString,
    generation: u64,
    message: RString,
    location: ROption<RString>,
}

const PANICKED: u32 = 0;
const VACANT: u32 = 1;
const HOST_ENDED: u32 = 2;
const CLAIMED: u32 = 3;
const HANDING_OVER: u32 = 4;
const UNLOADED: u32 = 5;
const FORKED_PROCESS: u32 = 6;
const NOT_CARRIED: u32 = 7;
const INSTANCE_ENDED: u32 = 8;

impl From<&CallError> for FaultAbi {
    /// Makes it on the host's side.
    fn from(error: &CallError) -> Self {
        let words;
        let (kind, message, location) = match error.fault() {
            Fault::Panicked { message, location, .. } => (PANICKED, &**message, location.as_deref()),
            Fault::Vacant => (VACANT, "", None),
            Fault::HostEnded => (HOST_ENDED, "", None),
            Fault::Claimed => (CLAIMED, "", None),
            Fault::HandingOver => (HANDING_OVER, "", None),
            Fault::Unloaded => (UNLOADED, "", None),
            Fault::ForkedProcess => (FORKED_PROCESS, "", None),
            Fault::NotCarried { reason } => (NOT_CARRIED, &**reason, None),
            Fault::InstanceEnded(end) => {
                words = end.to_string();
                (INSTANCE_ENDED, &*words, None)
            }
        };
        Self {
            kind,
            slot: error.slot().into(),
            generation: error.generation(),
            message: message.into(),
            location: location.map(RString::from).into(),
        }
    }
}

impl FaultAbi {
    /// Copies the error into the caller's memory.
    #[cold]
    pub(crate) fn copy_out(&self, method: &'static str) -> CallError {
        let location = match &self.location {
            ROption::RSome(location) => Some(location.to_string()),
            ROption::RNone => None,
        };
        let fault = match self.kind {
            VACANT => Fault::Vacant,
            HOST_ENDED => Fault::HostEnded,
            CLAIMED => Fault::Claimed,
            HANDING_OVER => Fault::HandingOver,
            UNLOADED => Fault::Unloaded,
            FORKED_PROCESS => Fault::ForkedProcess,
            NOT_CARRIED => Fault::NotCarried {
                reason: self.message.to_string(),
            },
            INSTANCE_ENDED => Fault::InstanceEnded(InstanceEnd::new(
                EndCause::Other {
                    what: self.message.to_string(),
                },
                0,
            )),
            _ => Fault::Panicked {
                message: self.message.as_str().into(),
                location,
                // The host's event has the backtrace. Here it would be memory of the host.
                backtrace: crate::Backtrace::default(),
            },
        };
        CallError::new(&self.slot, self.generation, method, fault)
    }
}

/// Why another plugin is not available.
#[repr(C)]
#[derive(StableAbi)]
pub struct PeerRefusalAbi {
    /// The number of the kind.
    pub(crate) kind: u32,
    /// The message.
    pub(crate) words: RString,
}
