//! What host and child tell each other. The host tells everything at once: a line with the task, then the bytes of the state, in
//! memory that is the child's standard input. The child tells a line for each thing that it begins or ends, so that the host knows
//! where it was when it died.

use reslot_plugin_api::{__private::SOURCES, API_VERSION, TARGET, TOOLCHAIN};
use reslot_report::{HookError, PreflightStep};
use serde::{Deserialize, Serialize};
use std::{ffi::OsString, time::Duration};

/// Raised with each change of what is said here.
const PROTOCOL: u32 = 2;

/// What both sides must have in common.
pub(super) fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    // A program that was built last week, from other sources of the same version, reads other manifests.
    format!(
        "reslot {version} with reslot-plugin-api {API_VERSION} (sources {SOURCES:016x}), {TOOLCHAIN}, {TARGET}, preflight protocol \
         {PROTOCOL}"
    )
}

/// What the child is to do. The state follows its line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Task {
    /// The host's process: the child of another one has lost its parent.
    pub(super) host: u32,
    pub(super) slot: String,
    pub(super) generation: u64,
    /// The linted copy.
    pub(super) copy: OsString,
    /// What the lint has read in it, as text: nested any deeper, the parser's limit would be another.
    pub(super) manifest: String,
    /// The schema of the state that follows; none if none does.
    pub(super) schema: Option<u32>,
    /// How long threads of the artifact are waited for.
    pub(super) settle: Duration,
}

impl Task {
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// The task and the state, from all that there was to read.
    pub(super) fn from_input(mut input: Vec<u8>) -> Option<(Self, Option<Vec<u8>>)> {
        let end = input.iter().position(|byte| *byte == b'\n')?;
        let task: Self = serde_json::from_slice(&input[..end]).ok()?;
        input.drain(..=end);
        let state = task.schema.map(|_| input);
        Some((task, state))
    }
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// First of all. The form of this word never changes, so that each build understands the other's.
    Hello { build: String },
    /// A step is begun.
    Begins { step: PreflightStep },
    /// It went well.
    Ends { step: PreflightStep, took: Duration },
    /// The last that was begun did not. Nothing follows.
    Refused { reason: String },
    /// The same because the state is nested deeper than this. Nothing follows.
    TooDeep { most: u32 },
    /// The same because the state takes more stack than this. Nothing follows.
    StackTooSmall { bytes: usize, system: Option<String> },
    /// The same because serde does not carry something in the state. Nothing follows.
    NotCarried { reason: String },
    /// It answered that it is not well. Nothing follows.
    Unhealthy { message: String },
    /// All went well. Nothing follows.
    Done { stays_mapped: Option<String> },
}

impl From<String> for Word {
    fn from(reason: String) -> Self {
        Self::Refused { reason }
    }
}

impl From<HookError> for Word {
    fn from(error: HookError) -> Self {
        match error {
            HookError::TooDeep { most } => Self::TooDeep { most },
            HookError::StackTooSmall { bytes, system } => Self::StackTooSmall { bytes, system },
            HookError::NotCarried(reason) => Self::NotCarried { reason },
            other => other.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_and_state_arrive_as_they_were() {
        let task = |schema| Task {
            host: 7,
            slot: "momentum".to_owned(),
            generation: 3,
            copy: "/tmp/a\nb.so".into(),
            manifest: "{\n}".to_owned(),
            schema,
            settle: Duration::from_millis(1500),
        };
        let with = [&task(Some(2)).to_line()[..], b"\n\0state\n"].concat();
        assert_eq!(Task::from_input(with), Some((task(Some(2)), Some(b"\n\0state\n".to_vec()))));
        assert_eq!(Task::from_input(task(None).to_line()), Some((task(None), None)));
        assert_eq!(Task::from_input(b"{}\n".to_vec()), None);
        assert_eq!(Task::from_input(Vec::new()), None);
    }
}
