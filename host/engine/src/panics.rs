//! What the panic hooks of images told, on the thread on which it happened, and which of these panics ended at the boundary. The call
//! that ends with a fault takes it from here; the words were copied while the image's stack still stood.
//!
//! A hook is told of each panic, also of those that the plugin catches itself. The boundary is told of those alone that ended there, but
//! not where they came from; and of some the hook is not told at all (`resume_unwind`, a hook of the plugin's own). So what was contained is
//! looked for among what the hook told last, by its words.

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
    /// Where it came from.
    pub backtrace: Backtrace,
}

impl PanicReport {
    /// What a plugin's panic hook told. Nothing of the image's memory is kept.
    #[must_use]
    pub fn new(message: &str, location: &str, backtrace: Backtrace) -> Self {
        Self {
            message: cut(message).into(),
            location: Some(cut(location).into_owned()).filter(|location| !location.is_empty()),
            backtrace,
        }
    }

    /// Of a panic of which no hook was told.
    fn of_words(message: &str) -> Self {
        Self {
            message: cut(message).into(),
            location: None,
            backtrace: Backtrace::default(),
        }
    }
}

/// So many panics of a thread are remembered until one of them ends at the boundary: a destructor may catch others while one unwinds.
const REMEMBERED: usize = 4;

/// What happened on one thread, each with its image.
#[derive(Default)]
struct Told {
    /// What hooks told, newest last.
    by_hooks: Vec<(ImageId, PanicReport)>,
    /// What ended at the boundary last, until somebody takes it.
    contained: Option<(ImageId, PanicReport)>,
}

thread_local! {
    static TOLD: RefCell<Told> = RefCell::default();
}

/// A thread that is ending has nobody left who would ask.
fn told<R>(body: impl FnOnce(&mut Told) -> R) -> Option<R> {
    TOLD.try_with(|told| Some(body(&mut *told.try_borrow_mut().ok()?)))
        .ok()
        .flatten()
}

/// What std says when a panic must not unwind any further. It aborts the process after that.
const NO_WAY_OUT: [&str; 2] = [
    "panic in a destructor during cleanup",
    "panic in a function that cannot unwind",
];

/// Whether the process ends right after this panic, whatever anybody does.
#[must_use]
pub fn aborts(report: &PanicReport) -> bool {
    NO_WAY_OUT.contains(&&*report.message)
}

/// Writes to the standard error stream what nobody will be able to ask for any more.
pub fn say_last_words(plugin: &str, image: ImageId, report: &PanicReport) {
    let earlier = told(|told| told.by_hooks.last().cloned()).flatten();
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

/// A hook told of a panic.
pub fn remember(image: ImageId, report: PanicReport) {
    told(|told| {
        if told.by_hooks.len() == REMEMBERED {
            told.by_hooks.remove(0);
        }
        told.by_hooks.push((image, report));
    });
}

/// A panic with these words ended at the boundary of an image. Answers it if no hook had told of it.
pub fn contained(image: ImageId, message: &str) -> Option<PanicReport> {
    told(|told| {
        let known = |(of, report): &(ImageId, PanicReport)| *of == image && *report.message == *message;
        let at = told.by_hooks.iter().rposition(known);
        let (is_news, report) = match at {
            Some(at) => (false, told.by_hooks.remove(at).1),
            None => (true, PanicReport::of_words(message)),
        };
        told.contained = Some((image, report.clone()));
        is_news.then_some(report)
    })
    .flatten()
}

/// Takes the last panic of an image on this thread, to tell somebody.
#[must_use]
pub fn take_panic(image: ImageId) -> Option<PanicReport> {
    let taken = told(|told| match &told.contained {
        Some((of, _)) if *of == image => told.contained.take(),
        // An older image does not tell what was contained.
        _ => {
            let at = told.by_hooks.iter().rposition(|(of, _)| *of == image)?;
            Some(told.by_hooks.remove(at))
        }
    });
    let (_, report) = taken.flatten()?;
    report.backtrace.keep();
    Some(report)
}
