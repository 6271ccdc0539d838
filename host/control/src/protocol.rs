//! What goes over a control socket: requests and answers, one JSON object a line. A request names the version of the protocol that it
//! speaks, and a number that its answers repeat. Fields may be added to answers within one version; a reader passes over those that
//! it does not know.

use serde::{Deserialize, Serialize, Serializer};
use std::path::{Path, PathBuf};

/// The version of what is said here.
pub const VERSION: u32 = 1;
/// A request has at most so many bytes, its end of line included.
pub const LONGEST_REQUEST: usize = 64 << 10;

/// A line from a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestMessage {
    /// [`VERSION`].
    pub v: u32,
    /// Repeated in the answers.
    pub id: u64,
    /// What is asked for.
    #[serde(flatten)]
    pub request: Request,
}

/// What a client may ask a host for. Wherever a slot is named and there is none of that name, the answer is
/// [`ErrorKind::UnknownSlot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// Everything at one glance: [`Answer::Overview`].
    Overview,
    /// Have a file loaded, or, given a slot, the file again that it serves from: [`Answer::Done`].
    Reload {
        /// A slot's name, or a file's absolute path.
        target: String,
    },
    /// Have a file loaded into the slot of this name, whatever its plugin is called: [`Answer::Done`].
    LoadAs {
        /// The file's absolute path.
        file: String,
        /// The slot, which need not be there yet.
        slot: String,
    },
    /// Go back: [`Answer::Done`].
    Rollback {
        /// The slot.
        slot: String,
        /// The beginning of a content's hash; none for the version before.
        to: Option<String>,
    },
    /// What serves is good, without waiting for the end of its probation: [`Answer::Done`].
    Confirm {
        /// The slot.
        slot: String,
    },
    /// Unload a slot: [`Answer::Done`].
    Unload {
        /// The slot.
        slot: String,
        /// Also if other plugins call it, and if its state cannot be had.
        #[serde(default)]
        force: bool,
    },
    /// The versions that are remembered: [`Answer::History`].
    History {
        /// The slot.
        slot: String,
    },
    /// Who keeps which generation: [`Answer::Holders`].
    WhoHolds {
        /// The slot.
        slot: String,
    },
    /// Why something does not serve: [`Answer::WhyNot`].
    WhyNot {
        /// A slot's name, or an artifact's path.
        target: String,
    },
    /// Events, from a sequence number on (none: from now on): lines of [`Answer::Event`], without end if `follow`, and
    /// else up to what has happened by now, and then [`Answer::Done`].
    Events {
        /// The first one's number.
        since: Option<u64>,
        /// Whether to go on with those that are still to happen.
        follow: bool,
    },
    /// Change how much a slot's plugin logs: [`Answer::Done`].
    LogLevel {
        /// The slot.
        slot: String,
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`; none for the host's own.
        level: Option<String>,
    },
}

/// A line from a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// [`VERSION`].
    pub v: u32,
    /// The request's number; 0 if the request could not be read.
    pub id: u64,
    /// The answer, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Answer>,
    /// … or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refused>,
}

impl Answered {
    /// What a host says to the request with this number.
    #[must_use]
    pub fn new(id: u64, answer: Result<Answer, Refused>) -> Self {
        let (ok, error) = match answer {
            Ok(answer) => (Some(answer), None),
            Err(refused) => (None, Some(refused)),
        };
        Self {
            v: VERSION,
            id,
            ok,
            error,
        }
    }
}

/// What a host answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// To [`Request::Overview`].
    Overview(Box<Overview>),
    /// It was done; in a sentence.
    Done {
        /// What was done.
        message: String,
        /// The generation that serves now, where that is the question.
        generation: Option<u64>,
    },
    /// To [`Request::History`], newest first.
    History {
        /// The versions.
        versions: Vec<Version>,
    },
    /// To [`Request::WhoHolds`], oldest generation first.
    Holders {
        /// The generations.
        generations: Vec<HeldGeneration>,
    },
    /// To [`Request::WhyNot`].
    WhyNot(Box<Reason>),
    /// To [`Request::Events`].
    Event(Box<EventMessage>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// For programs.
    pub kind: ErrorKind,
    /// For people: what happened, and what to do.
    pub message: String,
}

impl Refused {
    /// A refusal of this kind.
    pub fn new(kind: ErrorKind, message: impl ToString) -> Self {
        let message = message.to_string();
        Self { kind, message }
    }
}

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is no JSON, not a request, or too long.
    Malformed,
    /// The request speaks another version.
    Version,
    /// No such slot.
    UnknownSlot,
    /// The artifact was refused, or the rollback is not possible; the slot keeps what it has.
    NotDone,
    /// The host is going, or has too much to do.
    Unavailable,
}

/// A host at one glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The host's process.
    pub process: u32,
    /// What the program is called.
    pub program: String,
    /// For how long the host has been there, in milliseconds.
    pub uptime_ms: u64,
    /// The folder that it watches.
    #[serde(serialize_with = "lossy_option")]
    pub folder: Option<PathBuf>,
    /// Images mapped, those that serve included.
    pub mapped: u64,
    /// Of them, those that cannot be unloaded.
    pub quarantined: u64,
    /// The number of the next event.
    pub next_event: u64,
    /// In the order in which they came to be.
    pub slots: Vec<SlotStatus>,
    /// The last reloads, newest first, at most 32.
    pub reloads: Vec<Reload>,
}

/// A slot at one glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its name.
    pub name: String,
    /// The interface's name, if anything has served.
    pub interface: Option<String>,
    /// The plugin's name, which may serve in other slots as well.
    #[serde(default)]
    pub plugin: Option<String>,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The plugin's version.
    pub version: Option<String>,
    /// The artifact's content.
    pub hash: Option<String>,
    /// The file that it came from.
    #[serde(serialize_with = "lossy_option")]
    pub path: Option<PathBuf>,
    /// In one word: `serving`, `probation`, `staged`, `unloaded`, `empty`.
    pub state: String,
    /// A candidate that waits for its owner.
    pub staged: Option<u64>,
    /// What stands by.
    pub standby: Option<u64>,
    /// Whether it has an owner.
    pub claimed: bool,
    /// What it answered to the last question for its health, in words.
    pub health: Option<String>,
    /// Bytes allocated by what serves.
    pub live_bytes: Option<u64>,
    /// Calls so far, if the host counts them.
    pub calls: Option<u64>,
    /// Calls that ended with an error, so far.
    pub faults: u64,
    /// Generations of it that are mapped.
    pub mapped: u64,
    /// Of them, those that cannot be unloaded.
    pub quarantined: u64,
    /// Who holds a generation that does not serve any more.
    pub late_holders: u64,
    /// How much its plugin logs, if that is the slot's own affair.
    pub log_level: Option<String>,
    /// The last refusal since something was swapped in, in a sentence.
    pub last_refusal: Option<String>,
}

/// A reload that came to an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The slot, or the file's name where no slot is known.
    pub slot: String,
    /// The generation, if it was swapped in.
    pub generation: Option<u64>,
    /// `swapped`, `refused` or `rolled-back`.
    pub outcome: String,
    /// What was wrong, or why it went back.
    pub reason: Option<String>,
    /// How long each step took, in microseconds, in their order.
    pub steps: Vec<StepTook>,
    /// From the notice to the swap, in microseconds.
    pub total_us: f64,
    /// How long calls could not be made because of it, in microseconds; none if it was not swapped in, or the host does not tell.
    #[serde(default)]
    pub pause_us: Option<f64>,
}

/// How long a step took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTook {
    /// The step.
    pub step: String,
    /// Microseconds.
    pub us: f64,
}

/// A version that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The content.
    pub hash: String,
    /// The plugin's version.
    pub version: String,
    /// The schema of its state.
    pub schema: Option<u32>,
    /// The file that it was published as.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// `confirmed`, `unconfirmed` or `known_bad`.
    pub condition: String,
    /// Why it was marked as bad.
    pub reason: Option<String>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// How many bytes are kept.
    pub bytes: u64,
    /// Whether it serves now.
    pub serves: bool,
}

/// A generation and who keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldGeneration {
    /// Its number.
    pub generation: u64,
    /// In words.
    pub condition: String,
    /// For how long it has been in this condition, in milliseconds.
    pub since_ms: u64,
    /// Bytes allocated.
    pub live_bytes: Option<u64>,
    /// Each in a sentence.
    pub holders: Vec<String>,
}

/// Why something does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Whether it serves, after all.
    pub serves: bool,
    /// The slot that it is for, as far as is known.
    pub slot: Option<String>,
    /// In one sentence.
    pub summary: String,
    /// What was found, each in a sentence: findings of the lint, a refusal, a rollback, a candidate that waits.
    pub findings: Vec<String>,
    /// What can be done.
    pub remedies: Vec<String>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventMessage {
    /// Its number in the host's history.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What kind, for programs: `swapped`, `refused`, `retired`, …
    pub event: String,
    /// The slot, if it is one's.
    pub slot: Option<String>,
    /// The generation, if it is one's.
    pub generation: Option<u64>,
    /// In a sentence.
    pub text: String,
}

/// A path need not be UTF-8, and a string in JSON must be. One such file must not keep a host from answering.
fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

fn lossy_option<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}
