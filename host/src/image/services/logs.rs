//! The host's functions by which an image tells what it logs. Each finds the image's [`Voice`] by its token.
//!
//! The program's subscriber is called from here, with the image's frames below: its panics end here.

use super::super::{ledger::Ledger, logs::Voice};
use reslot_plugin_api::__private::{LogRecord, LogValue, RSlice, SpanDeed, contain};

/// # Safety
/// `token` must be a token of a living ledger for `'a`: code of its image is on the stack, see the module above.
unsafe fn voice<'a>(token: *const ()) -> Option<&'a Voice> {
    // SAFETY: the caller's promise. No count is raised: the image's owner keeps the ledger while the image is mapped.
    unsafe { &*token.cast::<Ledger>() }.voice()
}

pub(super) unsafe extern "C" fn record(token: *const (), record: &LogRecord<'_>) -> u64 {
    let mut answer = 0;
    // SAFETY: called from the image.
    if let Some(voice) = unsafe { voice(token) } {
        let _ = contain(|| answer = voice.record(record));
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
    if let (Some(voice), Some(deed)) = (unsafe { voice(token) }, SpanDeed::of(deed)) {
        let _ = contain(|| answer = voice.span(span, deed, other, &values));
    }
    answer
}
