//! Moving a slot on. **Read `steps.rs` first**: it is the path of one reload, from the notice to the proof, step by step, with the file and
//! the thread of each.
//!
//! Around that path:
//!
//! - what starts it: `thread.rs` (the reload thread, with the requests of `messages.rs`), `together.rs` (several slots at once), `go_back.rs`
//!   (a version that was kept), `reinstance.rs` (the same artifact, because plugins are given something else), `damaged.rs` (an image that differs from its artifact), `shadow.rs` (a build that
//!   never comes to serve);
//! - where it is refused: `admission.rs`, each decision by its name; what follows: `after_refusal.rs`;
//! - what a candidate starts from: `starting_state.rs`;
//! - how a generation ends without a successor: `rollback.rs` (its standby takes over), `unload.rs` (the slot becomes empty).

mod admission;
mod adopt;
mod after_refusal;
mod archive;
mod artifact;
mod attempt;
mod clock;
mod create;
mod damaged;
mod exclusive;
mod go_back;
mod inputs;
mod messages;
mod place;
mod preflight;
mod prepare;
mod reaper;
mod reinstance;
mod rollback;
mod shadow;
mod snapshot;
mod starting_state;
mod steps;
mod supersede;
mod supervisor;
mod survive;
mod swap;
mod thread;
mod together;
mod unload;
mod uses;

pub use crate::slot::{Counts, SavedState};
pub(crate) use admission::check_plugin;
pub(crate) use adopt::{Adoption, adopt};
pub(crate) use go_back::linked_for;
pub use messages::{LoadOutcome, UnloadOutcome, Unloaded};
pub(crate) use messages::{Outcomes, ReloadMessage};
pub(crate) use preflight::{answer_for_claim, state_of_open};
pub(crate) use reaper::{Deadlines, Reaper};
pub(crate) use rollback::{ManualRollback, of_claim as roll_back_claim, of_open_slot as roll_back_open};
pub(crate) use shadow::{ShadowOf, end_shadow, shadow, state_for_owner};
pub(crate) use supersede::discard_staged;
pub(crate) use supervisor::{Confirmation, check_of_claim, confirm, run as supervise};
pub(crate) use thread::run;
pub(crate) use together::adopt as adopt_together;
pub(crate) use unload::{of_claim as unload_claim, of_claim_if_asked as unload_claim_if_asked};
pub(crate) use uses::sort as sort_by_uses;
