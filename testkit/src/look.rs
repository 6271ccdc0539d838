//! What must be the same before and after a move, whatever its type.

use crate::failure::Broken;
use std::{any::Any, fmt::Debug};

/// An answer of one of the caller's `same`.
pub(crate) trait Seen {
    fn equals(&self, other: &dyn Seen) -> bool;
    fn words(&self) -> String;
    fn any(&self) -> &dyn Any;
}

impl<T: PartialEq + Debug + 'static> Seen for T {
    fn equals(&self, other: &dyn Seen) -> bool {
        other.any().downcast_ref::<T>() == Some(self)
    }

    fn words(&self) -> String {
        format!("{self:?}")
    }

    fn any(&self) -> &dyn Any {
        self
    }
}

/// What all of them answered at one moment.
pub(crate) type Sight = Vec<Box<dyn Seen>>;

/// What differs.
pub(crate) fn compare(before: &Sight, after: &Sight) -> Result<(), Broken> {
    let differs = before.iter().zip(after).position(|(before, after)| !before.equals(&**after));
    match differs {
        None => Ok(()),
        Some(at) => Err(Broken::StateLost {
            which: at + 1,
            before: before[at].words(),
            after: after[at].words(),
        }),
    }
}
