//! An artifact that was refused, and why.

use crate::{
    EngineKind, FORK_REMEDY, HistoryError, Holder, Hook, HookError, IllegalMove, OpenError, PreflightError,
    QuarantineReason, RollbackReason, StageError, Step,
};
use reslot_artifact::{lint::LintError, manifest::StateSchema};
use reslot_plugin_api::{Backtrace, Health};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// An artifact that was refused. The slot keeps the generation that it has, and nothing of the candidate stays.
///
/// ```
/// # use reslot_report as reslot;
/// # use reslot::{Cause, Refusal, Step};
/// /// What a program may want to know of it.
/// fn is_worth_a_look(refusal: &Refusal) -> bool {
///     refusal.slot.as_deref() == Some("momentum") && !matches!(*refusal.cause, Cause::HostEnded)
/// }
/// # let cause = std::sync::Arc::new(Cause::HostEnded);
/// # let refusal = Refusal::new("plugins/libmomentum.so".into(), Step::Notice, cause);
/// assert!(!is_worth_a_look(&refusal));
/// // For a person it says which file, at which step, why, and what to do.
/// assert!(refusal.to_string().contains("what to do: load it in the next host"));
/// assert!(refusal.backtrace().is_none()); // its `start` did not panic
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// The slot it was for. None if it was refused before its manifest was read.
    pub slot: Option<Arc<str>>,
    /// The candidate's number. None if it was refused before it got one.
    pub candidate: Option<u64>,
    /// The generation that keeps serving.
    pub serving: Option<u64>,
    /// The file. Empty if the request names none, as a rollback does.
    pub path: PathBuf,
    /// The step that refused it.
    pub step: Step,
    /// Why.
    pub cause: Arc<Cause>,
}

/// Why an artifact was refused.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::Cause;
///
/// let cause = Cause::SlotName("no such name!".to_owned());
/// assert_eq!(cause.kind(), "slot_name");
/// assert!(!cause.scope().is_remembered()); // the same bytes may be taken the next time
/// assert_eq!(cause.remedy(), "use 1 to 64 of the characters A-Z a-z 0-9 _ -");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// It could not be read or copied.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// Its bytes are not an artifact that this host may open.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// It could not be mapped, or is not what was linted.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A hook of the plugin failed.
    #[error("{}", HookWords(*.0, .1))]
    Hook(Hook, HookError),
    /// The host itself failed while it loaded the file.
    #[error("the host panicked while it loaded the file")]
    Bug,
    /// The slot already has the highest allowed number of images that cannot be unmapped.
    #[error("{}", QuarantineWords(.quarantined, .held, *.cap))]
    QuarantineFull {
        /// The generations that are quarantined, each with what keeps it.
        quarantined: Vec<(u64, QuarantineReason)>,
        /// The generations that were replaced longer ago than the drain deadline, each with its holders.
        held: Vec<(u64, Vec<Holder>)>,
        /// The highest allowed number.
        cap: usize,
    },
    /// No chain of migrations leads from the current state's schema to its own.
    #[error("{0}")]
    Schema(SchemaGap),
    /// Its health check before the swap failed.
    #[error("its first health check failed: {0}")]
    Unhealthy(Health),
    /// The slot was rolled back from it.
    #[error("the slot was rolled back from it: {0}")]
    RolledBack(RollbackReason),
    /// The history has it as bad: a slot was rolled back from it in an earlier process, or that process ended during its
    /// probation.
    #[error("the history has it as bad: {0}")]
    KnownBad(String),
    /// A rollback was due or requested, and the history has no earlier good version.
    #[error("a rollback was due ({0}), and the history has no earlier good version")]
    NothingToGoBackTo(RollbackReason),
    /// It did not pass its preflight: it crashed, hung or failed in a child process.
    #[error("{0}")]
    Preflight(Arc<PreflightError>),
    /// Its `uses` would make plugins call each other in a cycle.
    #[error("it would call itself through other plugins: {}", .0.join(" → "))]
    DependencyCycle(Vec<String>),
    /// Another member of the set that was loaded together was refused.
    #[error("it was part of a set that is loaded together, and {0:?} was refused")]
    GroupMember(String),
    /// The slot has another plugin. This one must not get that plugin's state.
    #[error("it is the plugin {candidate:?}, and the slot has the plugin {serving:?}")]
    OtherPlugin {
        /// The slot's plugin.
        serving: String,
        /// The refused plugin.
        candidate: String,
    },
    /// It cannot start from the given saved state.
    #[error(transparent)]
    SavedState(#[from] SavedStateError),
    /// The requested name is not valid for a slot.
    #[error("{0:?} is not a valid name of a slot")]
    SlotName(String),
    /// Two members of a set that is loaded together are for the same slot.
    #[error("two members of the set are for this slot; the other is {}", .0.display())]
    DuplicateSlot(PathBuf),
    /// No plugin of this name is linked into the program.
    #[error("no plugin {plugin:?} is linked into the program; those that are: {}", names(.known))]
    NotLinked {
        /// The name that was asked for.
        plugin: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// No engine of the slot runs this kind of file.
    #[error("{}", EngineWords(.slot, .engines, .format))]
    NoEngine {
        /// The slot.
        slot: String,
        /// The engines of the slot.
        engines: Vec<EngineKind>,
        /// What the file is, such as "a WebAssembly module".
        format: &'static str,
    },
    /// The plugin runs in a sandbox or in a process of its own, and the program has no stubs of the interface by which it is called.
    #[error("the host has no stubs for the interface {interface}")]
    NoStubs {
        /// The name of the interface.
        interface: String,
    },
    /// The history could not be written or read.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The lifecycle does not allow such a move. This is a bug of the host.
    #[error(transparent)]
    IllegalMove(#[from] IllegalMove),
    /// Calls into the old generation did not return in time, so its state could not be handed over.
    #[error("calls into the current generation did not return within {0:?}, so its state could not be handed over")]
    Busy(Duration),
    /// A callback on the reload thread requested it. The reload thread would have to wait for itself.
    #[error("a subscriber or a recorder requested it on the host's reload thread, which would have to wait for itself")]
    Reentrant,
    /// The host is shutting down.
    #[error("the host is shutting down")]
    HostEnded,
    /// This is a forked child of the process in which the host was built. The host's threads are not in it.
    #[error("this process is a forked child of the one in which the host was built, and has none of the host's threads")]
    ForkedProcess,
}

/// Two versions of a plugin whose states no chain of migrations connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaGap {
    /// The schema of the current generation, and so of the state.
    pub serving: StateSchema,
    /// The schema of the candidate.
    pub candidate: StateSchema,
}

impl SchemaGap {
    /// The gap between the current generation and a candidate.
    pub fn new(serving: StateSchema, candidate: StateSchema) -> Self {
        Self { serving, candidate }
    }
}

impl fmt::Display for SchemaGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (serving, candidate) = (self.serving, self.candidate);
        match serving.schema < candidate.schema {
            true => write!(
                f,
                "the current state has schema {}, and this version migrates from schema {} or later (to its own, {})",
                serving.schema, candidate.oldest, candidate.schema
            ),
            false => write!(
                f,
                "the current state has schema {}, and the current version migrates down to schema {}; this version has {}",
                serving.schema, serving.oldest, candidate.schema
            ),
        }
    }
}

/// Why a plugin cannot start from a state that was saved when a slot was unloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavedStateError {
    /// The slot is not empty, and the current generation's state would be lost.
    #[error("the slot has generation {generation}, and its state would be lost")]
    Serves {
        /// The generation.
        generation: u64,
    },
    /// The state is another plugin's.
    #[error("the saved state is of the plugin {saved:?}, and this is the plugin {candidate:?}")]
    OtherPlugin {
        /// The plugin whose state it is.
        saved: String,
        /// The plugin that was loaded with it.
        candidate: String,
    },
    /// This version does not accept a state of this schema.
    #[error("the saved state has schema {saved}, and this version accepts {}", Schemas(.takes))]
    Schema {
        /// The state's schema.
        saved: u32,
        /// The schemas that this version accepts; none if it has no state.
        takes: Option<StateSchema>,
    },
    /// The saved bytes have changed in memory since they were saved.
    #[error("the saved state of {bytes} bytes has changed in memory since it was saved, so it is not used")]
    Damaged {
        /// How many bytes it has.
        bytes: usize,
    },
}

impl SavedStateError {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Serves { .. } => {
                "unload the slot first; or load the artifact without a saved state, and it gets the current generation's \
                     state"
            }
            Self::OtherPlugin { .. } => "load a build of the plugin that saved the state",
            Self::Schema { .. } => {
                "load a version that accepts this schema (`schema` and `migrates_from` of \
                 export_plugin!)"
            }
            Self::Damaged { .. } => {
                "load the artifact without it, or with an older state; if this happens again, test the machine's memory"
            }
        }
    }
}

struct Schemas<'a>(&'a Option<StateSchema>);

impl fmt::Display for Schemas<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => write!(f, "none"),
            Some(takes) if takes.oldest == takes.schema => write!(f, "schema {}", takes.schema),
            Some(takes) => write!(f, "schemas {} to {}", takes.oldest, takes.schema),
        }
    }
}

struct EngineWords<'a>(&'a str, &'a [EngineKind], &'static str);

impl fmt::Display for EngineWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (slot, engines, format) = (self.0, self.1, self.2);
        let engines: Vec<_> = engines.iter().map(|engine| engine.name()).collect();
        write!(
            f,
            "it is {format}, and the slot {slot:?} runs only {} plugins",
            engines.join(" and ")
        )
    }
}

struct QuarantineWords<'a>(&'a [(u64, QuarantineReason)], &'a [(u64, Vec<Holder>)], usize);

impl fmt::Display for QuarantineWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quarantined, held, cap) = (self.0, self.1, self.2);
        write!(
            f,
            "{} image(s) of this slot cannot be unmapped, and {cap} is the limit:",
            quarantined.len() + held.len()
        )?;
        for (number, reason) in quarantined {
            write!(f, "\n  generation {number}: {reason}")?;
        }
        for (number, holders) in held {
            for holder in holders {
                write!(f, "\n  generation {number} is held by {holder}")?;
            }
            if holders.is_empty() {
                write!(f, "\n  generation {number} was held until just now")?;
            }
        }
        Ok(())
    }
}

struct HookWords<'a>(Hook, &'a HookError);

impl fmt::Display for HookWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (subject, error) = (self.0, self.1);
        match subject {
            Hook::Create => write!(f, "its constructor failed: {error}"),
            Hook::Snapshot => write!(f, "the current generation's state could not be encoded: {error}"),
            Hook::Restore => write!(f, "the current generation's state does not fit it: {error}"),
            Hook::Migrate => write!(
                f,
                "the current generation's state could not be migrated to its schema: {error}"
            ),
            Hook::OnConfig => write!(f, "it refused its configuration: {error}"),
            Hook::OnResource => write!(f, "it refused a resource: {error}"),
            Hook::Init => write!(f, "its `init` failed: {error}"),
            Hook::Start => write!(f, "its `start` failed: {error}"),
            Hook::Health => write!(f, "its first health check failed: {error}"),
            Hook::Stop => write!(f, "the `stop` of the current generation failed: {error}"),
        }
    }
}

impl Cause {
    /// A short word for this kind of cause, such as `quarantine_full`. Labels of metrics use it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Stage(_) => "read",
            Self::Lint(_) => "lint",
            Self::Open(_) => "open",
            Self::Hook(hook, _) => hook.kind(),
            Self::Bug | Self::IllegalMove(_) => "bug",
            Self::QuarantineFull { .. } => "quarantine_full",
            Self::Schema(_) => "schema",
            Self::Unhealthy(_) => "unhealthy",
            Self::RolledBack(_) => "rolled_back",
            Self::KnownBad(_) => "known_bad",
            Self::NothingToGoBackTo(_) => "nothing_to_go_back_to",
            Self::Preflight(_) => "preflight",
            Self::DependencyCycle(_) => "dependency_cycle",
            Self::GroupMember(_) => "group_member",
            Self::DuplicateSlot(_) => "duplicate_slot",
            Self::NotLinked { .. } => "not_linked",
            Self::NoEngine { .. } => "no_engine",
            Self::NoStubs { .. } => "no_stubs",
            Self::History(_) => "history",
            Self::Busy(_) => "busy",
            Self::OtherPlugin { .. } => "other_plugin",
            Self::SavedState(_) => "saved_state",
            Self::SlotName(_) => "slot_name",
            Self::Reentrant => "reentrant",
            Self::HostEnded => "host_ended",
            Self::ForkedProcess => "forked_process",
        }
    }

    /// What the person who built the artifact, or runs the host, can do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Stage(error) => error.remedy(),
            Self::Lint(error) => return error.remedy().to_string(),
            Self::Open(error) => error.remedy(),
            Self::Hook(Hook::Snapshot, HookError::TookTooLong(_)) => {
                "make the state smaller, or raise `Policy::hook_deadline`; then publish it again"
            }
            Self::Hook(_, HookError::TookTooLong(_)) => {
                "make the hook faster, or raise `Policy::hook_deadline`; then publish it again"
            }
            Self::Hook(Hook::OnConfig, _) => {
                "change the slot's table in the configuration, and the host tries it again; or fix the plugin"
            }
            Self::Hook(Hook::OnResource, _) => "change the file, and the host tries it again; or fix the plugin",
            Self::Hook(Hook::Create | Hook::Init | Hook::Start | Hook::Health | Hook::Stop, _) | Self::Unhealthy(_) => {
                "fix the plugin and publish it again"
            }
            Self::Hook(_, error) if error.remedy_for_state().is_some() => error.remedy_for_state().unwrap_or_default(),
            Self::Hook(Hook::Snapshot, _) => {
                "no build of this plugin can get the state; restart the host with a plugin whose Serialize does not fail"
            }
            Self::Hook(Hook::Restore, _) => {
                "give new fields of the state #[serde(default)], and keep the names and types of those that stay"
            }
            Self::Hook(Hook::Migrate, _) => {
                "implement this step in `Plugin::migrate` of the build with the higher schema; `migrates_from` of \
                     export_plugin! declares the steps"
            }
            Self::Schema(gap) if gap.serving.schema < gap.candidate.schema => {
                "publish a version in between first, or extend `migrates_from` and `Plugin::migrate` to earlier schemas"
            }
            Self::Schema(_) => "roll back to a version with a schema that the current version can migrate down to",
            Self::RolledBack(RollbackReason::Manual) => {
                "publish another version; or load this file by name if you want it \
                 again"
            }
            Self::RolledBack(RollbackReason::GroupMember { .. }) => {
                "load it together with a better version of the other plugin; or load this file by name"
            }
            Self::RolledBack(_) => {
                "fix the plugin and publish it again; or load this file by name if the plugin was not \
                 the cause"
            }
            Self::KnownBad(_) => "publish another version; or load this file by name if you want it all the same",
            Self::Preflight(error) => return error.remedy(),
            Self::DependencyCycle(_) => "remove one of these dependencies: `uses` declares which plugin calls which",
            Self::GroupMember(_) => "read the refusal of that plugin",
            Self::OtherPlugin { .. } => {
                "name a build of the slot's plugin; or load this one into a slot of its own (`Host::load_as`, `reslot \
                     reload FILE --as SLOT`)"
            }
            Self::SavedState(error) => error.remedy(),
            Self::SlotName(_) => "use 1 to 64 of the characters A-Z a-z 0-9 _ -",
            Self::DuplicateSlot(_) => "name one artifact for each slot",
            Self::NotLinked { .. } => "name one of those, or give the plugin to the host's builder (`HostBuilder::link`)",
            Self::NothingToGoBackTo(RollbackReason::Manual) => {
                "publish the version that you want; the current generation \
                 keeps serving"
            }
            Self::NothingToGoBackTo(RollbackReason::Restarted) => {
                "publish a version that can be loaded; the slot is empty \
                 until then"
            }
            Self::NothingToGoBackTo(RollbackReason::GroupMember { .. }) => {
                "publish a version that fits the other slot's current version; the current generation keeps serving"
            }
            Self::NothingToGoBackTo(_) => "fix the plugin and publish it again; the current generation keeps serving",
            Self::NoEngine { .. } => {
                "publish a file for one of these engines, or give the slot an engine for this one (`HostBuilder::engine`)"
            }
            Self::NoStubs { .. } => "enable the feature `remote` of the crate reslot; if only other plugins call it, register the interface: `HostBuilder::interface`",
            Self::History(error) => error.remedy(),
            Self::IllegalMove(_) => "this is a bug in Reslot: please report it",
            Self::Bug => "this is a bug in Reslot: please report it, with the panic's message",
            Self::QuarantineFull { quarantined, .. } if quarantined.is_empty() => {
                "make the holders release it, and the host loads this file by itself: a reader takes a new view or calls \
                     `release`, a guard of `load` is dropped, a call returns; or raise the host's quarantine_cap"
            }
            Self::QuarantineFull { held, .. } if !held.is_empty() => {
                "end what keeps them, or make the holders release them (a reader takes a new view or calls `release`, a \
                     guard of `load` is dropped), and the host loads this file by itself; images that are kept by their \
                     static constructors stay until the process ends; or raise the host's quarantine_cap"
            }
            Self::QuarantineFull { .. } => {
                "end what keeps them, and the host then loads a published file by itself; images that are kept by their \
                     static constructors stay until the process ends; or raise the host's quarantine_cap"
            }
            Self::Reentrant => {
                "request it from a thread of the program; `Host::events` gives the same events to such a \
                 thread"
            }
            Self::HostEnded => "load it in the next host",
            Self::ForkedProcess => FORK_REMEDY,
            Self::Busy(_) => "let calls return, or raise the host's drain_deadline; then publish the artifact again",
        }
        .to_owned()
    }

    /// What has to change before the same bytes are tried again. The match has no catch-all, so that the author of a new
    /// cause has to decide.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Lint(LintError::Interface(_)) | Self::RolledBack(_) | Self::KnownBad(_) => Scope::Slot,
            Self::Lint(_) => Scope::Artifact,
            Self::Open(error) if error.blames_the_artifact() => Scope::Artifact,
            Self::Open(_) => Scope::Circumstances,
            Self::Preflight(error) if error.blames_the_artifact() => Scope::Serving,
            Self::Preflight(_) => Scope::Circumstances,
            Self::Hook(hook, error) => hook_scope(*hook, error),
            Self::Schema(_) | Self::Unhealthy(_) => Scope::Serving,
            Self::Stage(_)
            | Self::Bug
            | Self::QuarantineFull { .. }
            | Self::NothingToGoBackTo(_)
            | Self::DependencyCycle(_)
            | Self::GroupMember(_)
            | Self::OtherPlugin { .. }
            | Self::SavedState(_)
            | Self::SlotName(_)
            | Self::DuplicateSlot(_)
            | Self::NotLinked { .. }
            | Self::NoEngine { .. }
            | Self::NoStubs { .. }
            | Self::History(_)
            | Self::IllegalMove(_)
            | Self::Busy(_)
            | Self::Reentrant
            | Self::HostEnded
            | Self::ForkedProcess => Scope::Circumstances,
        }
    }
}

/// What has to change before refused bytes are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The artifact itself: every slot would refuse it, with any current generation and any interface.
    Artifact,
    /// The artifact, in this slot.
    Slot,
    /// The artifact, or the current generation of this slot.
    Serving,
    /// Neither: the same bytes may be accepted the next time.
    Circumstances,
}

impl Scope {
    /// Whether the host does not try the same bytes again by itself.
    pub fn is_remembered(self) -> bool {
        match self {
            Self::Artifact | Self::Slot | Self::Serving => true,
            Self::Circumstances => false,
        }
    }
}

fn hook_scope(hook: Hook, error: &HookError) -> Scope {
    match error {
        // The state is too deep, and it is another state the next time.
        HookError::TooDeep { .. } | HookError::StackTooSmall { .. } => return Scope::Circumstances,
        HookError::Refused(_)
        | HookError::Panicked { .. }
        | HookError::TookTooLong(_)
        | HookError::NotCarried(_)
        | HookError::InstanceEnded(_) => {}
    }
    match hook {
        Hook::Create | Hook::Restore | Hook::Migrate | Hook::Init | Hook::Start | Hook::Health => Scope::Serving,
        // Hooks of the current generation.
        Hook::Snapshot | Hook::Stop => Scope::Circumstances,
        // The host tries again when the configuration or the resource changes.
        Hook::OnConfig | Hook::OnResource => Scope::Circumstances,
    }
}

impl Refusal {
    /// A refusal at this step. Slot, candidate and serving generation are set by the code that knows them.
    pub fn new(path: PathBuf, step: Step, cause: Arc<Cause>) -> Self {
        Self {
            slot: None,
            candidate: None,
            serving: None,
            path,
            step,
            cause,
        }
    }

    /// Where the candidate panicked, if that is why it was refused. `{refusal:#}` prints it after the refusal.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        match &*self.cause {
            Cause::Hook(_, error) => error.backtrace(),
            _ => None,
        }
    }

    /// The host itself failed while it loaded this file.
    pub fn of_a_bug(path: PathBuf) -> Self {
        Self::before_it_was_read(path, Cause::Bug)
    }

    /// A refusal before the file was read.
    pub fn before_it_was_read(path: PathBuf, cause: Cause) -> Self {
        Self {
            slot: None,
            candidate: None,
            serving: None,
            path,
            step: Step::Notice,
            cause: Arc::new(cause),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comes_from_a_file = !self.path.as_os_str().is_empty();
        match (&self.slot, self.candidate) {
            (Some(slot), Some(number)) => write!(f, "slot {slot:?}: generation {number}")?,
            (Some(slot), None) if comes_from_a_file => write!(f, "slot {slot:?}: an artifact")?,
            (Some(slot), None) => write!(f, "slot {slot:?}: the request")?,
            (None, _) if comes_from_a_file => write!(f, "a file")?,
            (None, _) => write!(f, "the request")?,
        }
        write!(f, " was refused at {}: {}", self.step, self.cause)?;
        if comes_from_a_file {
            write!(f, "\n  file: {}", self.path.display())?;
        }
        write!(f, "\n  what to do: {}", self.cause.remedy())?;
        if let Some(number) = self.serving {
            write!(f, "\n  generation {number} keeps serving")?;
        }
        match self.backtrace() {
            Some(backtrace) if f.alternate() && !backtrace.is_empty() => write!(f, "\n{backtrace}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

fn names(known: &[String]) -> String {
    match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    }
}
