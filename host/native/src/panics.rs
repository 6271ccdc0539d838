//! What the panic hooks of images tell, with names for their addresses. Where it is kept until somebody asks is `reslot_engine::panics`.

use super::symbols;
use reslot_engine::panics::PanicReport;
use reslot_plugin_api::__private::PanicRecord;

/// What an image's panic hook told, while the image's stack still stands.
pub(super) fn report_of(image: u64, record: &PanicRecord<'_>) -> PanicReport {
    let backtrace = symbols::capture(image, &record.addresses);
    PanicReport::new(&record.message, &record.location, backtrace)
}
