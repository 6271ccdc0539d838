//! An artifact that was refused, and why.

use crate::{
    FORK_REMEDY, HistoryError, Holder, Hook, HookError, IllegalMove, OpenError, PreflightError, QuarantineReason,
    RollbackReason, StageError, Step,
};
use reslot_artifact::{lint::LintError, manifest::StateSchema};
use reslot_plugin_api::{Backtrace, Health};
use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// An artifact that was refused. The slot keeps the generation that it has, and nothing of the candidate stays.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Refusal {
    /// The slot it was for, if the file got so far as to say it.
    pub slot: Option<Arc<str>>,
    /// The candidate's number, if it got so far as to have one.
    pub candidate: Option<u64>,
    /// The generation that serves on.
    pub serving: Option<u64>,
    /// The file; empty if what was asked for names none, as to go back.
    pub path: PathBuf,
    /// The step that refused it.
    pub step: Step,
    /// Why.
    pub cause: Arc<Cause>,
}

/// Why an artifact was refused.
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
    /// A hook of the plugin refused.
    #[error("{}", HookWords(*.0, .1))]
    Hook(Hook, HookError),
    /// The host itself failed while it loaded the file.
    #[error("the host panicked while it loaded the file")]
    Bug,
    /// The slot has as many images that cannot go as it may have.
    #[error("{}", QuarantineWords(.quarantined, .held, *.cap))]
    QuarantineFull {
        /// The generations that are quarantined, each with what keeps it.
        quarantined: Vec<(u64, QuarantineReason)>,
        /// The generations that were replaced for longer than the drain deadline, each with those who still hold it.
        held: Vec<(u64, Vec<Holder>)>,
        /// How many there may be.
        cap: usize,
    },
    /// No chain of migrations leads from the state that serves to its own.
    #[error("{0}")]
    Schema(SchemaGap),
    /// Its first check, before it came to serve, failed.
    #[error("its first health check failed: {0}")]
    Unhealthy(Health),
    /// It served, and the slot went back from it.
    #[error("the slot went back from it: {0}")]
    RolledBack(RollbackReason),
    /// A slot went back from it in an earlier process, or it had not proved itself when that one ended.
    #[error("the history has it down as bad: {0}")]
    KnownBad(String),
    /// What serves is faulty, or somebody asked for something older, and nothing older that is good was kept.
    #[error("the slot was to go back ({0}), and no good version before this one is kept")]
    NothingToGoBackTo(RollbackReason),
    /// It did not pass its preflight: it crashed, hung or refused in a child process.
    #[error("{0}")]
    Preflight(Arc<PreflightError>),
    /// Plugins would call each other in a circle.
    #[error("it would call itself through others: {}", .0.join(" → "))]
    DependencyCycle(Vec<String>),
    /// Another one of those that were to be loaded together was refused.
    #[error("it was to be loaded together with others, of which {0:?} was refused")]
    GroupMember(String),
    /// The slot has another plugin, whose state this one must not be given.
    #[error("it is the plugin {candidate:?}, and what serves in the slot is the plugin {serving:?}")]
    OtherPlugin {
        /// What serves.
        serving: String,
        /// What was to come after it.
        candidate: String,
    },
    /// It was to start from a state that was saved, and cannot.
    #[error(transparent)]
    SavedState(#[from] SavedStateError),
    /// A slot cannot have the name that was asked for.
    #[error("{0:?} is no name of a slot")]
    SlotName(String),
    /// Two of those that were to be loaded together are for the same slot.
    #[error("two of those that were to be loaded together are for this slot; the other is {}", .0.display())]
    DuplicateSlot(PathBuf),
    /// It could not be written down, or not be read, for going back.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The lifecycle does not have such a move: a bug of the host's.
    #[error(transparent)]
    IllegalMove(#[from] IllegalMove),
    /// Calls into the old generation did not come back in time for the state to be handed over.
    #[error("calls into the serving generation did not come back within {0:?}, so its state could not be handed over")]
    Busy(Duration),
    /// It was asked for on the one thread that would have to do it, which is just telling of its own work.
    #[error(
        "it was asked for by a subscriber or a recorder, on the host's own thread, which would have to do it and waits for them"
    )]
    Reentrant,
    /// The host was dropped meanwhile.
    #[error("the host is going")]
    HostEnded,
    /// This is a forked child of the process in which the host was built. The host's threads are not in it.
    #[error("this process is a forked child of the one in which the host was built, and has none of the host's threads")]
    ForkedProcess,
}

/// Two versions of a plugin whose states no chain of migrations connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaGap {
    /// What serves, and so whose state it is.
    pub serving: StateSchema,
    /// What was to take it over.
    pub candidate: StateSchema,
}

impl SchemaGap {
    /// The gap between what serves and a candidate.
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
                "the state that serves has schema {}, and this version migrates from {} at the earliest (to its own, {})",
                serving.schema, candidate.oldest, candidate.schema
            ),
            false => write!(
                f,
                "the state that serves has schema {}, and the version that serves migrates down to {} at the lowest; this one has {}",
                serving.schema, serving.oldest, candidate.schema
            ),
        }
    }
}

/// Why a plugin cannot start from a state that was saved when a slot was unloaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavedStateError {
    /// Something serves in the slot, whose own state would be lost.
    #[error("generation {generation} serves in the slot, and its own state would be lost")]
    Serves {
        /// The generation.
        generation: u64,
    },
    /// It is another plugin's state.
    #[error("the saved state is of the plugin {saved:?}, and this is the plugin {candidate:?}")]
    OtherPlugin {
        /// The plugin whose state it is.
        saved: String,
        /// The plugin that was to start from it.
        candidate: String,
    },
    /// This version takes no state with such a schema.
    #[error("the saved state has schema {saved}, and this version takes {}", Schemas(.takes))]
    Schema {
        /// The state's.
        saved: u32,
        /// What this version takes; none if it has no state.
        takes: Option<StateSchema>,
    },
}

impl SavedStateError {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Serves { .. } => {
                "unload the slot first; or load it without a state, and it takes over that of what serves"
            }
            Self::OtherPlugin { .. } => "load a build of the plugin whose state it is",
            Self::Schema { .. } => "load a version that takes this schema (`schema` and `migrates_from` of export_plugin!)",
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

struct QuarantineWords<'a>(&'a [(u64, QuarantineReason)], &'a [(u64, Vec<Holder>)], usize);

impl fmt::Display for QuarantineWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (quarantined, held, cap) = (self.0, self.1, self.2);
        write!(
            f,
            "{} image(s) of this slot cannot be unmapped, and no more than {cap} may pile up:",
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
            Hook::Snapshot => write!(f, "the serving generation's state could not be encoded: {error}"),
            Hook::Restore => write!(f, "the state of the serving generation does not fit it: {error}"),
            Hook::Migrate => write!(
                f,
                "the state of the serving generation could not be brought to its schema: {error}"
            ),
            Hook::OnConfig => write!(f, "it does not take its configuration: {error}"),
            Hook::OnResource => write!(f, "it does not take a resource: {error}"),
            Hook::Init => write!(f, "its `init` failed: {error}"),
            Hook::Start => write!(f, "its `start` failed: {error}"),
            Hook::Health => write!(f, "its first health check failed: {error}"),
            Hook::Stop => write!(f, "the `stop` of what serves failed: {error}"),
        }
    }
}

impl Cause {
    /// A short word for this kind of cause, such as `quarantine_full`, as it stands in the labels of metrics.
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
                "let the state be smaller, or raise `Policy::hook_deadline`; then publish it again"
            }
            Self::Hook(_, HookError::TookTooLong(_)) => {
                "let the hook come back sooner, or raise `Policy::hook_deadline`; then publish it again"
            }
            Self::Hook(Hook::OnConfig, _) => {
                "change the slot's table in the configuration, and it is tried again; or mend the plugin"
            }
            Self::Hook(Hook::OnResource, _) => "change the file, and it is tried again; or mend the plugin",
            Self::Hook(Hook::Create | Hook::Init | Hook::Start | Hook::Health | Hook::Stop, _) | Self::Unhealthy(_) => "mend the plugin and publish it again",
            Self::Hook(_, error) if error.remedy_for_state().is_some() => error.remedy_for_state().unwrap_or_default(),
            Self::Hook(Hook::Snapshot, _) => {
                "no build of this plugin can take the state over; restart the host with a plugin whose Serialize does not fail"
            }
            Self::Hook(Hook::Restore, _) => {
                "give new fields of the state #[serde(default)], and keep the names and types of those that stay"
            }
            Self::Hook(Hook::Migrate, _) => {
                "implement this step in `Plugin::migrate` of the build with the higher schema; `migrates_from` of export_plugin! says \
                 which steps there are"
            }
            Self::Schema(gap) if gap.serving.schema < gap.candidate.schema => {
                "publish a version in between first, or let `migrates_from` and `Plugin::migrate` begin earlier"
            }
            Self::Schema(_) => "go back to a version with a schema that the one that serves can migrate down to",
            Self::RolledBack(RollbackReason::Manual) => "publish another version; or load this very file by name, if it is wanted again",
            Self::RolledBack(RollbackReason::GroupMember { .. }) => {
                "load it together with a better version of the other one; or load this very file by name"
            }
            Self::RolledBack(_) => "mend the plugin and publish it again; or load this very file by name, if it was not its fault",
            Self::KnownBad(_) => "publish another version; or load this very file by name, if it is wanted all the same",
            Self::Preflight(error) => return error.remedy(),
            Self::DependencyCycle(_) => "let one of them do without another: `uses` says who calls whom",
            Self::GroupMember(_) => "see what is said of that one",
            Self::OtherPlugin { .. } => {
                "name a build of the plugin that serves; or load it into a slot of its own (`Host::load_as`, `reslot reload FILE --as SLOT`)"
            }
            Self::SavedState(error) => error.remedy(),
            Self::SlotName(_) => "use 1 to 64 of the characters A-Z a-z 0-9 _ -",
            Self::DuplicateSlot(_) => "name one artifact for each slot",
            Self::NothingToGoBackTo(RollbackReason::Manual) => "publish the version that is wanted; what serves goes on",
            Self::NothingToGoBackTo(RollbackReason::Restarted) => "publish a version that can be taken; nothing serves until then",
            Self::NothingToGoBackTo(RollbackReason::GroupMember { .. }) => {
                "publish a version that goes with what the other slot has now; what serves goes on"
            }
            Self::NothingToGoBackTo(_) => "mend the plugin and publish it again; what serves goes on",
            Self::History(error) => error.remedy(),
            Self::IllegalMove(_) => "this is a bug in Reslot: please report it",
            Self::Bug => "this is a bug in Reslot: please report it, with the panic's message",
            Self::QuarantineFull { quarantined, .. } if quarantined.is_empty() => {
                "have the holders let go, and this file is taken up by itself: a reader looks again or calls `release`, what `load` answered is \
                 dropped, a call comes back; or raise the host's quarantine_cap"
            }
            Self::QuarantineFull { held, .. } if !held.is_empty() => {
                "end what keeps them, or have the holders let go (a reader looks again or calls `release`, what `load` answered is dropped), \
                 and this file is taken up by itself; those whose static constructors keep them go with the process only; or raise the \
                 host's quarantine_cap"
            }
            Self::QuarantineFull { .. } => {
                "end what keeps them, and a file that was published is then taken up by itself; those whose static constructors keep them go with the process \
                 only; or raise the host's quarantine_cap"
            }
            Self::Reentrant => "ask from a thread of the program's; `Host::events` tells the same to such a thread",
            Self::HostEnded => "load it in the next host",
            Self::ForkedProcess => FORK_REMEDY,
            Self::Busy(_) => "let calls return, or raise the host's drain_deadline; the artifact can be published again",
        }
        .to_owned()
    }

    /// What would have to change before the same bytes may be taken. Without a catch-all, so that a new cause is not remembered as a
    /// refusal for good unless somebody has said so here.
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
            | Self::History(_)
            | Self::IllegalMove(_)
            | Self::Busy(_)
            | Self::Reentrant
            | Self::HostEnded
            | Self::ForkedProcess => Scope::Circumstances,
        }
    }
}

/// What would have to change before bytes that were refused may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The artifact itself: every slot would refuse it, whatever serves there and by whichever interface it is called.
    Artifact,
    /// The artifact, in this slot.
    Slot,
    /// The artifact, or the generation that serves in this slot.
    Serving,
    /// Neither: the same bytes may be taken the next time.
    Circumstances,
}

impl Scope {
    /// Whether the same bytes are not tried again by themselves.
    pub fn is_remembered(self) -> bool {
        match self {
            Self::Artifact | Self::Slot | Self::Serving => true,
            Self::Circumstances => false,
        }
    }
}

fn hook_scope(hook: Hook, error: &HookError) -> Scope {
    match error {
        // It is the state that is too deep, and that is another one the next time.
        HookError::TooDeep { .. } | HookError::StackTooSmall { .. } => return Scope::Circumstances,
        HookError::Refused(_) | HookError::Panicked { .. } | HookError::TookTooLong(_) | HookError::NotCarried(_) => {}
    }
    match hook {
        Hook::Create | Hook::Restore | Hook::Migrate | Hook::Init | Hook::Start | Hook::Health => Scope::Serving,
        // Hooks of what serves.
        Hook::Snapshot | Hook::Stop => Scope::Circumstances,
        // Tried again when there is something else to be given.
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

    /// Where the candidate panicked, if that is why it was refused. `{refusal:#}` prints it after the refusal's words.
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

    /// Nothing was done for it.
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
            (Some(slot), None) => write!(f, "slot {slot:?}: what was asked for")?,
            (None, _) if comes_from_a_file => write!(f, "a file")?,
            (None, _) => write!(f, "what was asked for")?,
        }
        write!(f, " was refused at {}: {}", self.step, self.cause)?;
        if comes_from_a_file {
            write!(f, "\n  file: {}", self.path.display())?;
        }
        write!(f, "\n  what to do: {}", self.cause.remedy())?;
        if let Some(number) = self.serving {
            write!(f, "\n  generation {number} serves on")?;
        }
        match self.backtrace() {
            Some(backtrace) if f.alternate() && !backtrace.is_empty() => write!(f, "\n{backtrace}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}
