//! Floor 3: where callers meet instances. A generation is what is called, a view is a consistent set of them, a slot, a
//! reader and a claim are the three ways to get there. How a slot moves on is `reload`'s affair.

mod claim;
mod generation;
mod handle;
mod holds;
mod peer;
mod reader;
mod record;
mod view;

pub use claim::{Claim, Synced};
pub(crate) use generation::{Generation, Parts};
pub use handle::{Loaded, Slot};
pub(crate) use holds::{HoldBy, HoldRecord, Taken};
pub(crate) use peer::Beside;
#[allow(unused_imports)] // LEAD: used by transactions.
pub(crate) use peer::with_overlay;
pub use reader::Reader;
pub(crate) use record::{Current, Mode, SlotRecord, SlotState, Staged};
pub use view::View;
