//! The protocol between the host and the child. The child's standard input is a memory file that the host has filled: a line with the
//! task, then the bytes of the state. The child writes a line before and after each step, so that the host knows in which step the
//! child has died.

use reslot_plugin_api::{__private::SOURCES, API_VERSION, TARGET, TOOLCHAIN};
use reslot_report::{HookError, PreflightStep};
use serde::{Deserialize, Serialize};
use std::{ffi::OsString, time::Duration};

/// The version of this protocol, raised with each change of it.
const PROTOCOL: u32 = 3;

/// What the child prints before the reason, and how it ends, if the last message cannot be written.
pub(super) const UNREPORTED: &str = "reslot-preflight: cannot report to the host: ";
pub(super) const UNREPORTED_CODE: u8 = 119;

/// The identity of a build. It must be equal on both sides.
pub fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    // The sources' hash is part of it: another build of the same version may expect another manifest.
    format!(
        "reslot {version} with reslot-plugin-api {API_VERSION} (sources {SOURCES:016x}), {TOOLCHAIN}, {TARGET}, preflight protocol \
         {PROTOCOL}"
    )
}

/// The child's task. The state follows after its line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Task {
    /// The host's process id. If the child's parent has another one, the host is dead.
    pub(super) host: u32,
    pub(super) slot: String,
    pub(super) generation: u64,
    /// The linted copy.
    pub(super) copy: OsString,
    /// The artifact's manifest as text, so that JSON inside JSON does not reach the parser's recursion limit earlier than in the host.
    pub(super) manifest: String,
    /// The schema of the state that follows. None without a state.
    pub(super) schema: Option<u32>,
    /// How long the child waits for threads of the artifact.
    pub(super) thread_timeout: Duration,
}

impl Task {
    pub(super) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }

    /// The task and the state, from the whole input.
    pub(super) fn from_input(mut input: Vec<u8>) -> Option<(Self, Option<Vec<u8>>)> {
        let end = input.iter().position(|byte| *byte == b'\n')?;
        let task: Self = serde_json::from_slice(&input[..end]).ok()?;
        input.drain(..=end);
        let state = task.schema.map(|_| input);
        Some((task, state))
    }
}

/// A message from the child. `Refused` and those after it are the last message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// The first message. Its form never changes, so that each build understands that of another build.
    Hello { build: String },
    /// A step begins.
    Begins { step: PreflightStep },
    /// The step has succeeded.
    Ends { step: PreflightStep, took: Duration },
    /// The current step has failed.
    Refused { reason: String },
    /// It has failed because the state is nested deeper than this.
    TooDeep { most: u32 },
    /// It has failed because the state needs more stack than this.
    StackTooSmall { bytes: usize, system: Option<String> },
    /// It has failed because serde cannot transport something in the state.
    NotCarried { reason: String },
    /// The health check has returned a bad health.
    Unhealthy { message: String },
    /// All steps have succeeded. `stays_mapped` says why the artifact is still mapped, if it is.
    Done { stays_mapped: Option<String> },
}

impl From<String> for Message {
    fn from(reason: String) -> Self {
        Self::Refused { reason }
    }
}

impl From<HookError> for Message {
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
    fn task_and_state_are_read_as_they_were_written() {
        let task = |schema| Task {
            host: 7,
            slot: "momentum".to_owned(),
            generation: 3,
            copy: "/tmp/a\nb.so".into(),
            manifest: "{\n}".to_owned(),
            schema,
            thread_timeout: Duration::from_millis(1500),
        };
        let with = [&task(Some(2)).to_line()[..], b"\n\0state\n"].concat();
        assert_eq!(Task::from_input(with), Some((task(Some(2)), Some(b"\n\0state\n".to_vec()))));
        assert_eq!(Task::from_input(task(None).to_line()), Some((task(None), None)));
        assert_eq!(Task::from_input(b"{}\n".to_vec()), None);
        assert_eq!(Task::from_input(Vec::new()), None);
    }
}
