//! Floor 3: where callers meet instances. A generation is what is called, a view is a consistent set of them, a slot, a
//! reader and a claim are the three ways to get there. How a slot moves on is `reload`'s affair.

mod claim;
mod generation;
mod handle;
mod holds;
mod reader;
mod record;
mod standing;
mod view;

pub use claim::{Claim, Synced};
pub(crate) use generation::{Access, Generation, Live, OwnersTurn, Parts};
pub use handle::{Loaded, Slot};
pub(crate) use holds::{HoldBy, HoldRecord, Taken};
pub use reader::Reader;
pub(crate) use record::{Current, Mode, SlotRecord, SlotState, Staged};
pub(crate) use standing::{Overdue, Watching};
pub use view::View;
