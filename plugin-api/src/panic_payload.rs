//! The payload of a caught panic.

use std::{
    any::Any,
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Drops a panic's payload. Its destructor is code of the plugin or of the program, and may panic again: that second payload is leaked.
#[cold]
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(bomb) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(bomb);
    }
}

/// The text of a payload. It may be very long.
pub fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&'static str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .or_else(|| payload.downcast_ref::<Box<str>>().map(|text| &**text))
        .or_else(|| payload.downcast_ref::<Cow<'static, str>>().map(|text| &**text))
        .unwrap_or("a panic whose payload is no text, but a value of a type that is not known here")
}
