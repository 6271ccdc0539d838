//! The panics of images, stored per thread from the panic hook until the call that ends with a fault takes the report. The message was
//! copied while the image's stack still existed.
//!
//! There are two sources. The panic hook reports every panic, also those that the plugin catches itself, but not all: it does not run
//! for `resume_unwind`, or if the plugin has set a hook of its own. The boundary reports only the panics that it has contained, without
//! their place. So a contained panic is matched with the last reports of the hook by its message.

use crate::engine::ImageId;
use reslot_plugin_api::{__private::cut, Backtrace};
use std::{cell::RefCell, sync::Arc};

/// A panic inside an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PanicReport {
    /// The panic's message, cut.
    pub message: Arc<str>,
    /// `file:line:column` in the plugin's source.
    pub location: Option<String>,
    /// The stack of the panic.
    pub backtrace: Backtrace,
}

impl PanicReport {
    /// The report of a plugin's panic hook. It copies the texts, and keeps nothing of the image's memory.
    #[must_use]
    pub fn new(message: &str, location: &str, backtrace: Backtrace) -> Self {
        Self {
            message: cut(message).into(),
            location: Some(cut(location).into_owned()).filter(|location| !location.is_empty()),
            backtrace,
        }
    }

    /// The report of a panic for which no hook has run.
    fn of_message(message: &str) -> Self {
        Self {
            message: cut(message).into(),
            location: None,
            backtrace: Backtrace::default(),
        }
    }
}

/// How many reports of a thread's panic hooks are kept: a destructor may panic and catch that while another panic unwinds.
const MAX_REPORTS: usize = 4;

/// The panics of one thread, each with its image.
#[derive(Default)]
struct ThreadPanics {
    /// The reports of panic hooks, newest last.
    from_hooks: Vec<(ImageId, PanicReport)>,
    /// The last contained panic that was not taken.
    contained: Option<(ImageId, PanicReport)>,
}

reslot_sync::thread_local! {
    static PANICS: RefCell<ThreadPanics> = RefCell::default();
}

/// Does nothing late in a thread's end, where no caller is left to take a report.
fn with_panics<R>(body: impl FnOnce(&mut ThreadPanics) -> R) -> Option<R> {
    PANICS
        .try_with(|panics| Some(body(&mut *panics.try_borrow_mut().ok()?)))
        .ok()
        .flatten()
}

/// The messages of std for a panic that must not unwind any further. It aborts the process after that.
const ABORTING: [&str; 2] = [
    "panic in a destructor during cleanup",
    "panic in a function that cannot unwind",
];

/// Whether std aborts the process after this panic.
#[must_use]
pub fn aborts(report: &PanicReport) -> bool {
    ABORTING.contains(&&*report.message)
}

/// Writes a report to the standard error stream, because the process ends before anybody can take it.
pub fn say_last_words(plugin: &str, image: ImageId, report: &PanicReport) {
    let earlier = with_panics(|panics| panics.from_hooks.last().cloned()).flatten();
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

/// Stores the report of a panic hook.
pub fn remember(image: ImageId, report: PanicReport) {
    with_panics(|panics| {
        if panics.from_hooks.len() == MAX_REPORTS {
            panics.from_hooks.remove(0);
        }
        panics.from_hooks.push((image, report));
    });
}

/// Stores a panic that the boundary of an image has contained. Returns its report if no hook had reported it.
pub fn contained(image: ImageId, message: &str) -> Option<PanicReport> {
    with_panics(|panics| {
        let matches = |(of, report): &(ImageId, PanicReport)| *of == image && *report.message == *message;
        let at = panics.from_hooks.iter().rposition(matches);
        let (is_new, report) = match at {
            Some(at) => (false, panics.from_hooks.remove(at).1),
            None => (true, PanicReport::of_message(message)),
        };
        panics.contained = Some((image, report.clone()));
        is_new.then_some(report)
    })
    .flatten()
}

/// Takes the last panic of an image on this thread, to report it.
#[must_use]
pub fn take_panic(image: ImageId) -> Option<PanicReport> {
    let taken = with_panics(|panics| match &panics.contained {
        Some((of, _)) if *of == image => panics.contained.take(),
        // Images that were built with an old SDK do not report contained panics.
        _ => {
            let at = panics.from_hooks.iter().rposition(|(of, _)| *of == image)?;
            Some(panics.from_hooks.remove(at))
        }
    });
    let (_, report) = taken.flatten()?;
    report.backtrace.keep();
    Some(report)
}
