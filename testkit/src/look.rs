//! Values of any type that must be the same before and after a move.

use crate::failure::Broken;
use std::{any::Any, fmt::Debug};

/// A value of one of the caller's `same`.
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

/// The values of all `same` at one moment.
pub(crate) type Sight = Vec<Box<dyn Seen>>;

/// Compares the values before and after a move.
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
