//! Which engine runs the code of a generation.

use std::fmt;

/// Which engine runs the code of a generation.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::EngineKind;
///
/// assert_eq!(EngineKind::Native.name(), "native");
/// assert_eq!(EngineKind::Linked.to_string(), "linked");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// A library file that is mapped into the process, and unmapped when it was replaced.
    Native,
    /// A part of the program (`HostBuilder::link`): nothing is mapped or unmapped.
    Linked,
    /// A module in a WebAssembly sandbox in the host's process.
    Wasm,
    /// A library file in a process of its own.
    Process,
}

impl EngineKind {
    /// A short word for it, as it stands in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Linked => "linked",
            Self::Wasm => "wasm",
            Self::Process => "process",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
