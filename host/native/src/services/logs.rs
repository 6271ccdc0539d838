//! The host's functions through which an image logs. Each finds the image's [`LogForwarder`] by the image's token.
//!
//! The program's subscriber is called from here. Its panics are contained, because they must not unwind into frames of the image.

use super::super::{logs::LogForwarder, resources::Ledger};
use reslot_plugin_api::__private::{LogRecord, LogValue, RSlice, SpanDeed, contain};

/// # Safety
/// `token` must be the token of a ledger that lives for `'a`, see the module above.
unsafe fn log_forwarder<'a>(token: *const ()) -> Option<&'a LogForwarder> {
    // SAFETY: the caller promises that the ledger lives for `'a`. The count is not raised: `Image` keeps the ledger while the image is mapped,
    // and code of the image is on this stack.
    unsafe { &*token.cast::<Ledger>() }.log_forwarder()
}

pub(super) unsafe extern "C" fn record(token: *const (), record: &LogRecord<'_>) -> u64 {
    let mut answer = 0;
    // SAFETY: called from the image.
    if let Some(log_forwarder) = unsafe { log_forwarder(token) } {
        let _ = contain(|| answer = log_forwarder.record(record));
    }
    answer
}

pub(super) unsafe extern "C" fn span(
    token: *const (),
    span: u64,
    deed: u8,
    other: u64,
    values: RSlice<'_, LogValue<'_>>,
) -> bool {
    let mut answer = false;
    // SAFETY: called from the image.
    if let (Some(log_forwarder), Some(deed)) = (unsafe { log_forwarder(token) }, SpanDeed::of(deed)) {
        let _ = contain(|| answer = log_forwarder.span(span, deed, other, &values));
    }
    answer
}
