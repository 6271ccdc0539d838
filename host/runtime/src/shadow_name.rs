//! What a shadow is called in events: `NAME~shadow`. No slot's name can end so.

const SUFFIX: &str = "~shadow";

/// What a slot's shadow is called.
pub(crate) fn of_slot(slot: &str) -> String {
    format!("{slot}{SUFFIX}")
}

/// The slot whose shadow has this name; or the name, if it is a slot's.
pub(crate) fn slot_of(name: &str) -> &str {
    name.strip_suffix(SUFFIX).unwrap_or(name)
}
