//! Makes reports from the panic hooks of images, with their backtraces. `reslot_engine::panics` stores the reports.

use super::symbols;
use reslot_engine::panics::PanicReport;
use reslot_plugin_api::__private::PanicRecord;

/// The report of an image's panic hook. To be called while the stack of the panic still exists.
pub(super) fn report_of(image: u64, record: &PanicRecord<'_>) -> PanicReport {
    let backtrace = symbols::capture(image, &record.addresses);
    PanicReport::new(&record.message, &record.location, backtrace)
}
