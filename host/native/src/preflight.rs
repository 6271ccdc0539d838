//! Trying an artifact out before the host opens it: in a child process, which is lost if the artifact crashes it. What lives here
//! is the host's side: whom to start, what to tell it, and what its words or its end mean. The steps themselves are `child`'s, the
//! keeping of a process that may do anything is `process`'s.

mod child;
mod process;
mod protocol;

pub use child::child_main;

use process::{Heard, PreflightChild};
use protocol::{Task, Word, build};
use reslot_artifact::lint::{Expectations, lint};
use reslot_engine::{Preflight, PreflightCandidate};
use reslot_report::HookError;
pub use reslot_report::{PreflightError, PreflightReport, PreflightStep};
use reslot_stage::{PrivateCopies, StageLimits, StagingFolder, memory_holding, read_patiently};
use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::{Duration, Instant},
};

/// Names the program, if nothing else does.
const VARIABLE: &str = "RESLOT_PREFLIGHT";
const PROGRAM: &str = "reslot-preflight";
/// The longest that the child waits for threads which the artifact has started.
const SETTLE: Duration = Duration::from_millis(500);

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
/// If the file cannot be read or fails the lint; if the artifact crashes, ends, hangs or refuses; if the child cannot be had. The
/// error says which, at which step, and what to do.
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
        copy: copy.path(),
        manifest: &manifest,
    };
    run(how, &candidate, state)
}

/// Tries a linted copy out. Whatever becomes of the child, when this comes back the child is reaped and its process group killed.
pub fn run(
    how: &Preflight,
    candidate: &PreflightCandidate<'_>,
    state: Option<(u32, &[u8])>,
) -> Result<PreflightReport, PreflightError> {
    let begun = Instant::now();
    let program = find_program(how.program.as_deref())?;
    let task = Task {
        host: std::process::id(),
        slot: candidate.slot.to_owned(),
        generation: candidate.generation,
        copy: candidate.copy.as_os_str().to_owned(),
        manifest: serde_json::to_string(candidate.manifest)
            .map_err(|error| PreflightError::io("write the task", error.into()))?,
        schema: state.map(|(schema, _)| schema),
        settle: SETTLE.min(how.timeout / 4),
    };
    let parts = [&task.to_line()[..], state.map_or(&[], |(_, bytes)| bytes)];
    // In memory, so that nobody waits for a child that has stopped to read.
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
        // One that lies beyond the end of the clock is none.
        deadline: begun.checked_add(how.timeout),
        step: None,
        steps: Vec::new(),
    };
    conversation.listen(how.timeout)
}

/// What the host hears of its child.
struct Conversation {
    program: PathBuf,
    child: PreflightChild,
    begun: Instant,
    deadline: Option<Instant>,
    /// The last step that was begun; none until the child has said who it is.
    step: Option<PreflightStep>,
    steps: Vec<(PreflightStep, Duration)>,
}

impl Conversation {
    fn listen(mut self, timeout: Duration) -> Result<PreflightReport, PreflightError> {
        loop {
            let heard = self.child.next(self.deadline);
            let heard = heard.map_err(|error| PreflightError::io("listen to the child", error))?;
            let line = match heard {
                Heard::Line(line) => line,
                Heard::TooMuch => return Err(self.misspoken("a line without an end")),
                Heard::Late => {
                    return Err(PreflightError::Hung {
                        step: self.step.unwrap_or(PreflightStep::Begin),
                        after: timeout,
                        last_words: self.child.last_words(),
                    });
                }
                Heard::Ended(status) => return Err(self.ended(status)),
            };
            let Ok(word) = serde_json::from_slice(&line) else {
                return Err(self.misspoken(&String::from_utf8_lossy(&line)));
            };
            if let Some(stays_mapped) = self.take(word)? {
                // Whatever it still does is not waited for.
                let _ = self.child.end();
                return Ok(PreflightReport::new(self.steps, self.begun.elapsed(), stays_mapped));
            }
        }
    }

    /// The answer is `Some` if all is done: what keeps the artifact mapped, if anything.
    fn take(&mut self, word: Word) -> Result<Option<Option<String>>, PreflightError> {
        let Some(step) = self.step else {
            let Word::Hello { build: theirs } = word else {
                return Err(self.misspoken("its work before its name"));
            };
            let ours = build();
            if theirs != ours {
                let program = self.program.clone();
                return Err(PreflightError::OtherBuild { program, ours, theirs });
            }
            self.step = Some(PreflightStep::Begin);
            return Ok(None);
        };
        match word {
            Word::Hello { .. } => return Err(self.misspoken("its name twice")),
            Word::Begins { step } => self.step = Some(step),
            Word::Ends { step, took } => self.steps.push((step, took)),
            Word::Refused { reason } => return Err(PreflightError::Refused { step, reason }),
            Word::TooDeep { most } => return Err(of_the_state(step, HookError::TooDeep { most })),
            Word::StackTooSmall { bytes, system } => {
                return Err(of_the_state(step, HookError::StackTooSmall { bytes, system }));
            }
            Word::NotCarried { reason } => return Err(of_the_state(step, HookError::NotCarried(reason))),
            Word::Unhealthy { message } => return Err(PreflightError::Unhealthy { message }),
            Word::Done { stays_mapped } => return Ok(Some(stays_mapped)),
        }
        Ok(None)
    }

    fn ended(&mut self, status: ExitStatus) -> PreflightError {
        let last_words = self.child.last_words();
        let Some(step) = self.step else {
            // The artifact's code has not run.
            let words = match last_words.trim() {
                "" => String::new(),
                words => format!(", with the words {words:?}"),
            };
            return PreflightError::Program {
                why: format!("it ended ({status}) before it had said who it is{words}"),
                tried: vec![self.program.clone()],
                source: None,
            };
        };
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

    fn misspoken(&self, heard: &str) -> PreflightError {
        PreflightError::Protocol {
            program: self.program.clone(),
            heard: heard.chars().take(200).collect(),
        }
    }
}

fn of_the_state(step: PreflightStep, error: HookError) -> PreflightError {
    PreflightError::State { step, error }
}

/// Looks for the program.
fn find_program(given: Option<&Path>) -> Result<PathBuf, PreflightError> {
    let named = given
        .map(Path::to_owned)
        .or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let tried = match named {
        Some(path) => vec![path],
        None => {
            // A test lies in `deps`, one folder below what cargo builds for people.
            let own = std::env::current_exe().map_err(|error| PreflightError::io("find the running program", error))?;
            own.ancestors().skip(1).take(2).map(|folder| folder.join(PROGRAM)).collect()
        }
    };
    match tried.iter().find(|path| path.is_file()) {
        Some(found) => Ok(found.clone()),
        None => Err(PreflightError::Program {
            tried,
            why: "there is no such file".to_owned(),
            source: None,
        }),
    }
}
