//! The messages on a control socket: requests and answers, one JSON object per line. A request has the version of the
//! protocol, and a number that its answers repeat. Fields may be added to answers within one version; a reader ignores
//! unknown fields.

use serde::{Deserialize, Serialize, Serializer};
use std::path::{Path, PathBuf};

/// The version of this protocol.
pub const VERSION: u32 = 1;
/// The highest number of bytes of a request, including its line feed.
pub const LONGEST_REQUEST: usize = 64 << 10;

/// A line from a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestMessage {
    /// [`VERSION`].
    pub v: u32,
    /// A number that the answers repeat.
    pub id: u64,
    /// The request.
    #[serde(flatten)]
    pub request: Request,
}

/// The fields that every version of a request has.
#[derive(Deserialize)]
struct Header {
    v: u32,
    #[serde(default)]
    id: u64,
}

impl RequestMessage {
    /// Reads a line from a client.
    ///
    /// # Errors
    /// If it is not a request of this version: the refusal to answer with.
    ///
    /// ```
    /// use reslot::control::protocol::{Request, RequestMessage};
    ///
    /// let asked = RequestMessage::read(br#"{"v": 1, "id": 7, "do": "overview"}"#).unwrap();
    /// assert_eq!((asked.id, asked.request), (7, Request::Overview));
    /// assert_eq!(RequestMessage::read(br#"{"v": 2, "id": 7}"#).unwrap_err().id, 7);
    /// ```
    pub fn read(line: &[u8]) -> Result<Self, Answered> {
        let malformed = |id, error: serde_json::Error| {
            let message = format!("this is not a request: {error}");
            Answered::new(id, Err(Refused::new(ErrorKind::Malformed, message)))
        };
        let Header { v, id } = serde_json::from_slice(line).map_err(|error| malformed(0, error))?;
        if v != VERSION {
            let message = format!(
                "this host speaks version {VERSION} of the protocol, and the request has version {v}; use the `reslot` of the \
                 host's release"
            );
            return Err(Answered::new(id, Err(Refused::new(ErrorKind::Version, message))));
        }
        serde_json::from_slice(line).map_err(|error| malformed(id, error))
    }
}

/// The requests of a client. If a request names a slot that does not exist, the answer is [`ErrorKind::UnknownSlot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// All slots and the last reloads: [`Answer::Overview`].
    Overview,
    /// Load a file, or reload a slot from its file: [`Answer::Done`].
    Reload {
        /// A slot's name, or a file's absolute path.
        target: String,
    },
    /// Load a file into the slot of this name, also if the plugin has another name: [`Answer::Done`].
    LoadAs {
        /// The file's absolute path.
        file: String,
        /// The slot. It need not exist yet.
        slot: String,
    },
    /// Roll a slot back: [`Answer::Done`].
    Rollback {
        /// The slot.
        slot: String,
        /// The first digits of a version's hash; none for the previous version.
        to: Option<String>,
    },
    /// Confirm the current generation, which ends its probation: [`Answer::Done`].
    Confirm {
        /// The slot.
        slot: String,
    },
    /// Unload a slot: [`Answer::Done`].
    Unload {
        /// The slot.
        slot: String,
        /// Unload it even if other plugins call it or its state cannot be saved.
        #[serde(default)]
        force: bool,
    },
    /// The versions in the history: [`Answer::History`].
    History {
        /// The slot.
        slot: String,
    },
    /// The holders of each generation: [`Answer::Holders`].
    WhoHolds {
        /// The slot.
        slot: String,
    },
    /// Compare all images in memory with their artifacts: [`Answer::Images`]. This takes long on a busy machine.
    Verify,
    /// Why a slot or file is not current: [`Answer::WhyNot`].
    WhyNot {
        /// A slot's name, or an artifact's path.
        target: String,
    },
    /// Events from a sequence number on (none: only new ones), as lines of [`Answer::Event`]. With `follow` they continue
    /// with new events; without it, [`Answer::Done`] follows the past events.
    Events {
        /// The number of the first event.
        since: Option<u64>,
        /// Whether to continue with new events.
        follow: bool,
    },
    /// Change how much a slot's plugin logs: [`Answer::Done`].
    LogLevel {
        /// The slot.
        slot: String,
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`; none for the host's level.
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
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<Answer>,
    /// The refusal, if there is no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refused>,
}

impl Answered {
    /// The answer to the request with this number.
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

/// The answers of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// To [`Request::Overview`].
    Overview(Box<Overview>),
    /// The request was carried out.
    Done {
        /// What the host did, in a sentence.
        message: String,
        /// The current generation, if the request was about it.
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
    /// To [`Request::Verify`].
    Images {
        /// The images, by slot and generation.
        images: Vec<ComparedImage>,
    },
    /// To [`Request::WhyNot`].
    WhyNot(Box<Reason>),
    /// To [`Request::Events`].
    Event(Box<EventMessage>),
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// The message for people: what happened, and what to do.
    pub message: String,
}

impl Refused {
    /// A refusal of this kind.
    pub fn new(kind: ErrorKind, message: impl ToString) -> Self {
        let message = message.to_string();
        Self { kind, message }
    }
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is not JSON, not a known request, or too long.
    Malformed,
    /// The request has another version of the protocol.
    Version,
    /// The slot does not exist.
    UnknownSlot,
    /// The artifact was refused, or the rollback is not possible; the slot keeps what it has.
    NotDone,
    /// The host is shutting down, or has too many clients.
    Unavailable,
}

/// The status of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// A random text that no other host has. A host that is built again, also in the same process, has another one. Empty
    /// if the host is of a version that did not send it.
    #[serde(default)]
    pub host_id: String,
    /// The host's process.
    pub process: u32,
    /// The program's name.
    pub program: String,
    /// The time since the host was built, in milliseconds.
    pub uptime_ms: u64,
    /// The watched folder.
    #[serde(serialize_with = "lossy_option")]
    pub folder: Option<PathBuf>,
    /// The number of mapped images, including the current ones.
    pub mapped: u64,
    /// The number of these that are quarantined.
    pub quarantined: u64,
    /// The number of the next event.
    pub next_event: u64,
    /// The slots, in the order in which they were created.
    pub slots: Vec<SlotStatus>,
    /// The last reloads, newest first, at most 32.
    pub reloads: Vec<Reload>,
}

/// The status of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// Its name.
    pub name: String,
    /// The interface's name, if the slot ever had a generation.
    pub interface: Option<String>,
    /// The plugin's name. Other slots may have the same plugin.
    #[serde(default)]
    pub plugin: Option<String>,
    /// The current generation.
    pub generation: Option<u64>,
    /// The plugin's version.
    pub version: Option<String>,
    /// The hash of the artifact's content.
    pub hash: Option<String>,
    /// The file that it came from.
    #[serde(serialize_with = "lossy_option")]
    pub path: Option<PathBuf>,
    /// What runs its code: `native` for a file that is mapped, `linked` for a part of the program.
    #[serde(default)]
    pub engine: Option<String>,
    /// The state: `serving`, `probation`, `staged`, `unloaded`, or `empty`.
    pub state: String,
    /// The candidate that waits for the slot's owner.
    pub staged: Option<u64>,
    /// The standby.
    pub standby: Option<u64>,
    /// Whether the slot has an owner.
    pub claimed: bool,
    /// The result of the last health check, in words.
    pub health: Option<String>,
    /// The bytes that the current generation has allocated.
    pub live_bytes: Option<u64>,
    /// The number of calls, if the host counts them.
    pub calls: Option<u64>,
    /// The number of calls that ended with an error.
    pub faults: u64,
    /// The number of mapped generations of the slot.
    pub mapped: u64,
    /// The number of these that are quarantined.
    pub quarantined: u64,
    /// The number of holders of retired generations.
    pub late_holders: u64,
    /// The plugin's log level, if it was set for this slot.
    pub log_level: Option<String>,
    /// The last refusal since the last swap, in a sentence.
    pub last_refusal: Option<String>,
    /// What the current generation's image was last found to differ from its artifact in, in a sentence.
    #[serde(default)]
    pub damaged: Option<String>,
}

/// A finished reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The slot, or the file's name if the slot is unknown.
    pub slot: String,
    /// The generation, if it was swapped in.
    pub generation: Option<u64>,
    /// `swapped`, `refused` or `rolled-back`.
    pub outcome: String,
    /// The cause of a refusal or a rollback.
    pub reason: Option<String>,
    /// The time of each step in microseconds, in the order of the steps.
    pub steps: Vec<StepTook>,
    /// The time from the notice to the swap, in microseconds.
    pub total_us: f64,
    /// How long calls had to wait because of this reload, in microseconds. None if there was no swap, or if the host does
    /// not report it.
    #[serde(default)]
    pub pause_us: Option<f64>,
}

/// The time of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepTook {
    /// The step.
    pub step: String,
    /// Microseconds.
    pub us: f64,
}

/// A version in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The hash of its content.
    pub hash: String,
    /// The plugin's version.
    pub version: String,
    /// The schema of its state.
    pub schema: Option<u32>,
    /// The file from which it was published.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// `confirmed`, `unconfirmed` or `known_bad`.
    pub condition: String,
    /// Why it was marked as bad.
    pub reason: Option<String>,
    /// When it got this condition, in milliseconds since 1970.
    pub since_ms: u64,
    /// The number of bytes that are kept.
    pub bytes: u64,
    /// Whether it is the current version.
    pub serves: bool,
}

/// A generation and its holders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldGeneration {
    /// Its number.
    pub generation: u64,
    /// Its status, in words.
    pub condition: String,
    /// How long it has had this status, in milliseconds.
    pub since_ms: u64,
    /// The bytes that it has allocated.
    pub live_bytes: Option<u64>,
    /// The holders, each in a sentence.
    pub holders: Vec<String>,
}

/// An image that was compared with its artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedImage {
    /// The slot. The image of a shadow has the name `NAME~shadow`.
    pub slot: String,
    /// The generation.
    pub generation: u64,
    /// `intact`, `damaged`, `linked`, `not-mapped` (in a sandbox or in another process), `ended` or `failed`.
    pub condition: String,
    /// The number of bytes that were compared.
    pub bytes: u64,
    /// Microseconds.
    pub took_us: f64,
    /// The differences, at most 16.
    pub differences: Vec<ImagePlace>,
    /// The number of further differences.
    #[serde(default)]
    pub more: u64,
    /// Why the image could not be compared.
    pub reason: Option<String>,
}

/// A place where an image differs from its artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePlace {
    /// `code`, `constants`, `relocated` or `private-copy`.
    pub part: String,
    /// The section.
    pub section: String,
    /// The offset in the section.
    pub offset: u64,
    /// The address in the artifact.
    pub address: u64,
    /// The number of bytes.
    pub len: u64,
    /// All of that in words.
    pub text: String,
}

/// The answer to [`Request::WhyNot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Whether the slot or file is current after all.
    pub serves: bool,
    /// The slot, if it is known.
    pub slot: Option<String>,
    /// The summary, in one sentence.
    pub summary: String,
    /// The findings, each in a sentence: findings of the lint, a refusal, a rollback, a candidate that waits.
    pub findings: Vec<String>,
    /// What to do.
    pub remedies: Vec<String>,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventMessage {
    /// Its number in the host's history.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The kind, for programs: `swapped`, `refused`, `retired`, …
    pub event: String,
    /// The slot, if the event is about one.
    pub slot: Option<String>,
    /// The generation, if the event is about one.
    pub generation: Option<u64>,
    /// The event in a sentence.
    pub text: String,
}

/// Writes a path lossily: a path need not be UTF-8, a JSON string must be, and one such file must not make the answer fail.
fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

fn lossy_option<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}
