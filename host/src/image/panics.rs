//! What the panic hook of an image told last, on the thread on which it happened. The call that ends with a fault takes it
//! from here; the words were copied while the image's stack still stood.

use super::symbols;
use reslot_plugin_api::{__private::PanicRecord, Backtrace};
use std::cell::RefCell;

/// A panic inside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicReport {
    /// The panic's message.
    pub message: String,
    /// `file:line:column` in the plugin's source.
    pub location: Option<String>,
    /// Where it came from.
    pub backtrace: Backtrace,
}

impl PanicReport {
    pub(super) fn new(image: u64, record: &PanicRecord<'_>) -> Self {
        Self {
            message: record.message.to_string(),
            location: Some(record.location.to_string()).filter(|location| !location.is_empty()),
            backtrace: symbols::capture(image, &record.addresses),
        }
    }
}

thread_local! {
    static LAST: RefCell<Option<(u64, PanicReport)>> = const { RefCell::new(None) };
}

/// What std says when a panic must not unwind any further. It aborts the process after that.
const NO_WAY_OUT: [&str; 2] = [
    "panic in a destructor during cleanup",
    "panic in a function that cannot unwind",
];

/// Whether the process ends right after this panic, whatever anybody does.
pub(super) fn aborts(report: &PanicReport) -> bool {
    NO_WAY_OUT.contains(&report.message.as_str())
}

/// Writes to the standard error stream what nobody will be able to ask for any more.
pub(super) fn say_last_words(plugin: &str, image: u64, report: &PanicReport) {
    let earlier = LAST.try_with(|last| last.try_borrow().ok()?.clone()).ok().flatten();
    let earlier = earlier.filter(|(of, _)| *of == image && aborts(report));
    let place = |report: &PanicReport| report.location.clone().unwrap_or_else(|| "an unknown place".to_owned());
    let mut words = format!("reslot: {plugin} panicked at {}:\n{}\n", place(report), report.message);
    if let Some((_, earlier)) = earlier {
        words += &format!("after it had panicked at {}:\n{}\n", place(&earlier), earlier.message);
    }
    words += "This cannot be contained: the process ends.\n";
    use std::io::Write;
    let _ = std::io::stderr().write_all(words.as_bytes());
}

pub(super) fn remember(image: u64, report: PanicReport) {
    // A thread that is ending has nobody left who would ask.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some((image, report));
        }
    });
}

/// Takes the last panic of an image on this thread, to tell somebody.
pub(crate) fn take_panic(image: u64) -> Option<PanicReport> {
    LAST.try_with(|last| {
        let mut last = last.try_borrow_mut().ok()?;
        match &*last {
            Some((of, report)) if *of == image => {
                report.backtrace.keep();
                last.take().map(|(_, report)| report)
            }
            _ => None,
        }
    })
    .ok()
    .flatten()
}
