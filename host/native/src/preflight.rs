//! Tries an artifact out before the host opens it: in a child process, so that a crash of the artifact does not end the host. This
//! file is the host's side: it finds the program, sends the task, and interprets the child's messages and its end. `child` runs the
//! steps, `process` controls the child process.

mod child;
mod process;
mod protocol;

pub use child::child_main;
#[doc(hidden)]
pub use protocol::build;

use process::{ChildEvent, PreflightChild};
use protocol::{Message, Task, UNREPORTED, UNREPORTED_CODE};
use reslot_artifact::lint::{Expectations, lint};
use reslot_engine::{Preflight, PreflightCandidate};
use reslot_report::HookError;
pub use reslot_report::{PreflightError, PreflightReport, PreflightStep};
use reslot_stage::{PrivateCopies, StageLimits, StagingFolder, memory_holding, read_patiently};
use reslot_sync::Instant;
use reslot_system::awake::Limit;
use std::{
    io::{self, ErrorKind},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// The environment variable with the path of the program.
const VARIABLE: &str = "RESLOT_PREFLIGHT";
const PROGRAM: &str = "reslot-preflight";
/// How long the child waits for threads that the artifact has started, at most.
const MAX_THREAD_TIMEOUT: Duration = Duration::from_millis(500);

/// Tries an artifact out in a child process: it is loaded, created, dropped and unloaded there. The file is read and linted first, and
/// none of its code runs in this process. This function waits for the child, `timeout` at most.
///
/// ```no_run
/// let report = reslot::preflight("plugins/libmomentum.so", &reslot::Preflight::default())?;
/// println!("{report}");
/// # Ok::<(), reslot::PreflightError>(())
/// ```
///
/// # Errors
/// If the file cannot be read or fails the lint; if the artifact crashes, exits, hangs or returns an error; if the child cannot be
/// started. The error names the cause, the step, and a remedy.
pub fn preflight(path: impl AsRef<Path>, how: &Preflight) -> Result<PreflightReport, PreflightError> {
    preflight_as_hosts_do(path.as_ref(), how, None, None)
}

/// The same, with this kind of private copy, and with the state of a predecessor and the number of its schema.
#[doc(hidden)]
pub fn preflight_as_hosts_do(
    path: &Path,
    how: &Preflight,
    copies: Option<PrivateCopies>,
    state: Option<(u32, &[u8])>,
) -> Result<PreflightReport, PreflightError> {
    let mut bytes = read_patiently(path, &StageLimits::default())?.bytes;
    let manifest = lint(&mut bytes, &Expectations::of_this_build())?.manifest;
    let copy = StagingFolder::create(&std::env::temp_dir(), copies)?.write(&manifest.name, &bytes)?;
    let candidate = PreflightCandidate {
        slot: &manifest.name,
        generation: 1,
        manifest: &manifest,
    };
    run(how, &candidate, copy.path(), state)
}

/// Tries a linted copy, or a link to one in memory, out. The child opens this very file, so it costs no second copy. Whatever becomes of the child, when this comes back the child is reaped and its process group killed.
pub fn run(
    how: &Preflight,
    candidate: &PreflightCandidate<'_>,
    copy: &Path,
    state: Option<(u32, &[u8])>,
) -> Result<PreflightReport, PreflightError> {
    let begun = Instant::now();
    let program = find_program(how.program.as_deref())?;
    let task = Task {
        host: std::process::id(),
        slot: candidate.slot.to_owned(),
        generation: candidate.generation,
        copy: copy.as_os_str().to_owned(),
        manifest: serde_json::to_string(candidate.manifest)
            .map_err(|error| PreflightError::io("write the task", error.into()))?,
        schema: state.map(|(schema, _)| schema),
        thread_timeout: MAX_THREAD_TIMEOUT.min(how.timeout / 4),
    };
    let parts = [&task.to_line()[..], state.map_or(&[], |(_, bytes)| bytes)];
    // A memory file instead of a pipe: the host must not block on a child that does not read.
    let input = memory_holding(c"reslot-preflight", &parts)
        .map_err(|error| PreflightError::io("hold the state in memory", error))?;
    let child = PreflightChild::start(&program, input).map_err(|error| PreflightError::Program {
        why: format!("it could not be started: {error}"),
        tried: vec![program.clone()],
        source: Some(error),
    })?;
    let conversation = Conversation {
        program,
        child,
        begun,
        limit: Limit::since(begun, how.timeout),
        step: None,
        steps: Vec::new(),
    };
    conversation.listen(how.timeout)
}

/// The result of one message.
enum Next {
    Continue,
    Done { stays_mapped: Option<String> },
}

/// A running preflight.
struct Conversation {
    program: PathBuf,
    child: PreflightChild,
    begun: Instant,
    limit: Limit,
    /// The current step. None before the child's hello.
    step: Option<PreflightStep>,
    steps: Vec<(PreflightStep, Duration)>,
}

impl Conversation {
    fn listen(mut self, timeout: Duration) -> Result<PreflightReport, PreflightError> {
        loop {
            let event = self.child.next(self.limit);
            let event = event.map_err(|error| PreflightError::io("read from the child", error))?;
            let line = match event {
                ChildEvent::Line(line) => line,
                ChildEvent::LineTooLong => return Err(self.protocol_error("a line without an end")),
                ChildEvent::TimedOut => {
                    return Err(PreflightError::Hung {
                        step: self.step.unwrap_or(PreflightStep::Begin),
                        after: timeout,
                        last_words: self.child.last_words(),
                    });
                }
                ChildEvent::Ended(status) => return Err(self.ended(status)),
            };
            let Ok(message) = serde_json::from_slice(&line) else {
                return Err(self.protocol_error(&String::from_utf8_lossy(&line)));
            };
            if let Next::Done { stays_mapped } = self.receive(message)? {
                // Do not wait for the child's own end.
                let _ = self.child.kill_and_reap();
                return Ok(PreflightReport::new(self.steps, self.begun.elapsed(), stays_mapped));
            }
        }
    }

    fn receive(&mut self, message: Message) -> Result<Next, PreflightError> {
        let Some(step) = self.step else {
            let Message::Hello { build: theirs } = message else {
                return Err(self.protocol_error("a message before its hello"));
            };
            let ours = build();
            if theirs != ours {
                let program = self.program.clone();
                return Err(PreflightError::OtherBuild { program, ours, theirs });
            }
            self.step = Some(PreflightStep::Begin);
            return Ok(Next::Continue);
        };
        match message {
            Message::Hello { .. } => return Err(self.protocol_error("a second hello")),
            Message::Begins { step } => self.step = Some(step),
            Message::Ends { step, took } => self.steps.push((step, took)),
            Message::Refused { reason } => return Err(PreflightError::Refused { step, reason }),
            Message::TooDeep { most } => return Err(state_error(step, HookError::TooDeep { most })),
            Message::StackTooSmall { bytes, system } => {
                return Err(state_error(step, HookError::StackTooSmall { bytes, system }));
            }
            Message::NotCarried { reason } => return Err(state_error(step, HookError::NotCarried(reason))),
            Message::Unhealthy { message } => return Err(PreflightError::Unhealthy { message }),
            Message::Done { stays_mapped } => return Ok(Next::Done { stays_mapped }),
        }
        Ok(Next::Continue)
    }

    fn ended(&mut self, status: ExitStatus) -> PreflightError {
        let last_words = self.child.last_words();
        let Some(step) = self.step else {
            return PreflightError::not_begun(self.program.clone(), status, &last_words);
        };
        if let Some(reason) = unreported(status, &last_words) {
            return PreflightError::io("hear the result from the child", io::Error::other(reason.to_owned()));
        }
        match status.signal() {
            Some(signal) => PreflightError::Crashed {
                step,
                signal,
                last_words,
            },
            None => PreflightError::Exited {
                step,
                code: status.code().unwrap_or_default(),
                last_words,
            },
        }
    }

    fn protocol_error(&self, heard: &str) -> PreflightError {
        PreflightError::Protocol {
            program: self.program.clone(),
            heard: heard.chars().take(200).collect(),
        }
    }
}

/// Why the child could not write its last message, if it says so. That says nothing about the artifact.
fn unreported(status: ExitStatus, last_words: &str) -> Option<&str> {
    let last = last_words.lines().next_back()?.strip_prefix(UNREPORTED)?;
    (status.code() == Some(UNREPORTED_CODE.into())).then_some(last)
}

fn state_error(step: PreflightStep, error: HookError) -> PreflightError {
    PreflightError::State { step, error }
}

/// Finds the program `reslot-preflight`.
fn find_program(given: Option<&Path>) -> Result<PathBuf, PreflightError> {
    let found = find_child_program(given, VARIABLE, PROGRAM);
    let found = found.map_err(|error| PreflightError::io("find the running program", error))?;
    found.map_err(|tried| PreflightError::Program {
        tried,
        why: "there is no such file".to_owned(),
        source: None,
    })
}

/// Finds a program that a host starts: the given one, that of the environment variable, or the one of this name beside the running program or one
/// folder above. If there is none, returns the paths that were tried.
#[doc(hidden)]
pub fn find_child_program(given: Option<&Path>, variable: &str, program: &str) -> io::Result<Result<PathBuf, Vec<PathBuf>>> {
    let named = given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os(variable).map(PathBuf::from));
    let tried = match named {
        Some(path) => vec![path],
        None => {
            // Tests run in `deps`, and programs one folder above.
            let own = std::env::current_exe()?;
            own.ancestors().skip(1).take(2).map(|folder| folder.join(program)).collect()
        }
    };
    // If the system cannot say for a moment what is there, the start of the program will.
    let is_missing = |error: io::Error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    let may_start = |path: &&PathBuf| {
        path.metadata()
            .map_or_else(|error| !is_missing(error), |found| found.is_file())
    };
    Ok(tried.iter().find(may_start).cloned().ok_or(tried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_that_cannot_report_says_nothing_about_the_artifact() {
        let status = |code: u8| ExitStatus::from_raw(i32::from(code) << 8);
        let words = format!("the plugin printed this\n{UNREPORTED}No space left on device (os error 28)\n");
        assert_eq!(
            unreported(status(UNREPORTED_CODE), &words),
            Some("No space left on device (os error 28)")
        );
        assert_eq!(unreported(status(0), &words), None, "another end");
        assert_eq!(unreported(status(UNREPORTED_CODE), "the plugin printed this\n"), None);
        assert_eq!(unreported(status(UNREPORTED_CODE), ""), None);
    }
}
