//! Compares the images in memory with their artifacts, on demand and, if the policy asks for it, again and again.
//!
//! The *scrub* thread does this. It is a background thread that is started when it is first needed. It lists the images, compares one after the
//! other, reports what it finds, and asks the reload thread to replace what is damaged (`answers.rs`). It holds no lock of the host
//! while it compares, and goes on only when `pace.rs` says so. Only callers of `verify_images` wait for it.

mod answers;
mod pace;

use crate::{
    runtime::{Runtime, ScrubMessage, VerifyError},
    slot::MappedImage,
};
use answers::Answers;
use pace::Pace;
use reslot_engine::Resources;
use reslot_plugin_api::__private::panic_text;
use reslot_report::{Comparison, ImageReport};
use reslot_sync::{
    Instant,
    mpsc::{Receiver, RecvTimeoutError},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Starts the thread, if it does not run yet.
pub(crate) fn start(host: &Arc<Runtime>) {
    let working = host.clone();
    host.scrubber.start(move |messages, is_ending| {
        let pace = Pace::new(is_ending);
        Scrub::new(working).run(&messages, &pace);
    });
}

/// Compares all images, and waits for that. Empty on the scrub thread, which would wait for itself.
pub(crate) fn verify(host: &Arc<Runtime>) -> Vec<ImageReport> {
    start(host);
    let comparison = match host.scrubber.verify() {
        Ok(reports) => return reports,
        Err(VerifyError::Reentrant) => return Vec::new(),
        Err(VerifyError::HostEnds) => Comparison::Ended,
        Err(VerifyError::NoThread) => Comparison::Failed("the system gives no thread that could compare it".to_owned()),
        Err(VerifyError::Panicked) => {
            Comparison::Failed("the thread that compares has panicked; the program's log has the panic".to_owned())
        }
    };
    let images = host.images.with_shadows(None);
    in_order(images.iter().map(|image| report(image, comparison.clone())).collect())
}

/// The scrub thread.
struct Scrub {
    host: Arc<Runtime>,
    answers: Answers,
    /// When the next comparison is due.
    next: Option<Instant>,
}

impl Scrub {
    fn new(host: Arc<Runtime>) -> Self {
        let mut scrub = Self {
            host,
            answers: Answers::default(),
            next: None,
        };
        scrub.set_next();
        scrub
    }

    fn set_next(&mut self) {
        let every = self.host.options.policy.scrub_every;
        self.next = every.and_then(|every| Instant::now().checked_add(every));
    }

    fn run(mut self, messages: &Receiver<ScrubMessage>, pace: &Pace) {
        loop {
            let first = match self.next {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            let first = match first {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut waiting = Vec::new();
            // All who have asked by now get the result of the same comparison.
            for message in first.into_iter().chain(messages.try_iter()) {
                match message {
                    ScrubMessage::Verify(answer) => waiting.push(answer),
                    ScrubMessage::End => return,
                }
            }
            self.set_next();
            // If this panics, dropping their channels tells the callers of `verify_images`. The next comparison tries again.
            let reports = catch_unwind(AssertUnwindSafe(|| self.compare(&|| pace.may_continue())));
            for (waiting, reports) in waiting.into_iter().zip(std::iter::repeat(reports.ok())) {
                if let Some(reports) = reports {
                    // Somebody may have given up waiting.
                    let _ = waiting.send(reports);
                }
            }
        }
    }

    /// Compares all images, and does what follows.
    fn compare(&mut self, may_continue: &dyn Fn() -> bool) -> Vec<ImageReport> {
        let images = self.host.images.with_shadows(None);
        self.answers.forget_all_but(&images);
        let compare = |image: &MappedImage| report(image, compare(&*image.resources, may_continue));
        let reports = in_order(images.iter().map(compare).collect());
        drop(images);
        // Of a slot's generations the standby comes before the current one, so that no rollback goes to a damaged one.
        for report in &reports {
            self.answers.answer(&self.host, report);
        }
        reports
    }
}

fn report(image: &MappedImage, comparison: Comparison) -> ImageReport {
    ImageReport::new(image.slot.clone(), image.number, image.resources.engine(), comparison)
}

fn in_order(mut reports: Vec<ImageReport>) -> Vec<ImageReport> {
    reports.sort_by(|one, other| (&one.slot, one.generation).cmp(&(&other.slot, other.generation)));
    reports
}

/// Compares one image. A panic concerns only this one.
fn compare(image: &dyn Resources, may_continue: &dyn Fn() -> bool) -> Comparison {
    let compared = catch_unwind(AssertUnwindSafe(|| image.compare(may_continue)));
    compared.unwrap_or_else(|panic| Comparison::Failed(format!("the comparison panicked: {}", panic_text(&*panic))))
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Resources, compare};
    use reslot_engine::Holding;
    use reslot_report::EngineKind;

    /// An image whose comparison is this function.
    struct Image(fn(&dyn Fn() -> bool) -> Comparison);

    impl Resources for Image {
        fn engine(&self) -> EngineKind {
            EngineKind::Native
        }
        fn live_bytes(&self) -> Option<u64> {
            None
        }
        fn log_level_changed(&self) {}
        fn holding(&self) -> Holding {
            Holding::Nothing
        }
        fn running_threads(&self) -> Vec<String> {
            Vec::new()
        }
        fn threads_with_values(&self) -> Vec<String> {
            Vec::new()
        }
        fn compare(&self, may_continue: &dyn Fn() -> bool) -> Comparison {
            self.0(may_continue)
        }
        fn watch(&self) {}
        fn end(&self) {}
    }

    #[test]
    fn panic_of_a_comparison_is_its_result() {
        let images = [
            (Image(|_| panic!("on purpose")), "the comparison panicked: on purpose"),
            (Image(|_| panic!("at {}", 7)), "the comparison panicked: at 7"),
        ];
        for (image, why) in images {
            assert_eq!(compare(&image, &|| true), Comparison::Failed(why.to_owned()));
        }
        assert_eq!(
            compare(&Image(|_| Comparison::NotApplicable), &|| true),
            Comparison::NotApplicable
        );
    }
}
