//! The host's functions by which an image tells what it logs. Each finds the image's [`LogForwarder`] by its token.
//!
//! The program's subscriber is called from here, with the image's frames below: its panics end here.

use super::super::{logs::LogForwarder, resources::ImageResources};
use reslot_plugin_api::__private::{LogRecord, LogValue, RSlice, SpanDeed, contain};

/// # Safety
/// `token` must be a token of a living ledger for `'a`: code of its image is on the stack, see the module above.
unsafe fn log_forwarder<'a>(token: *const ()) -> Option<&'a LogForwarder> {
    // SAFETY: the caller's promise. No count is raised: the image's owner keeps the ledger while the image is mapped.
    unsafe { &*token.cast::<ImageResources>() }.log_forwarder()
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
