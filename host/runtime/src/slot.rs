//! The callers' side. A generation is the callable instance of an artifact; a view is a consistent set of generations; a
//! slot, a reader and a claim are the three ways to call them. `reload` replaces a slot's generation.

mod acquisition;
mod call_stats;
mod candidate;
mod counts;
mod ending;
mod generation;
mod handle;
mod hold_records;
mod holders;
mod images;
mod messages;
mod peer;
mod probation;
mod publish;
mod reader;
mod record;
mod refusals;
mod saved_state;
mod signals;
mod slots;
mod unload_data;
mod view;

pub(crate) use acquisition::Acquisition;
pub(crate) use call_stats::Watching;
pub(crate) use candidate::{Candidate, CandidateKind, CandidateSet, Renewal, RollbackPlan, SlotCandidate, TakenState};
pub(crate) use ending::{EndedGeneration, Ending};
pub(crate) use generation::{Access, Generation, OwnersTurn};
pub use handle::{Slot, SlotGuard};
pub(crate) use holders::{holders_of, who_holds};
pub use images::Counts;
pub(crate) use images::{MappedImage, MappedImages, Phase};
pub(crate) use messages::{CheckResult, InstanceId, ReaperMessage, SupervisorMessage};
pub(crate) use peer::SlotPeers;
pub(crate) use peer::with_overlay;
pub(crate) use probation::{Probation, ProbationGroup, Standby, Verdict, is_failure};
pub(crate) use publish::Change;
pub use reader::Reader;
pub use record::ContentPlace;
pub(crate) use record::{Current, Mode, Moving, PendingRollback, SlotRecord, SlotState};
pub use saved_state::SavedState;
pub(crate) use saved_state::Snapshot;
pub(crate) use signals::OwnerSignals;
pub(crate) use slots::{Slots, UseGraph};
pub(crate) use unload_data::{UnloadRequest, UnloadedSlot};
pub use view::View;
