//! The way to the scrub thread (`scrub.rs`), which compares images with their artifacts.

use reslot_process::background::{self, Kind};
use reslot_report::ImageReport;
use reslot_sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle, ThreadId},
};
use std::sync::Arc;

/// A way to the scrub thread.
#[derive(Default)]
pub(crate) struct Scrubber {
    running: Mutex<Option<Running>>,
    /// The host ends: a comparison that runs ends soon.
    is_ending: Arc<AtomicBool>,
}

struct Running {
    messages: Sender<ScrubMessage>,
    thread: JoinHandle<()>,
}

/// A message to the scrub thread.
pub(crate) enum ScrubMessage {
    /// Compare all images, and answer.
    Verify(Sender<Vec<ImageReport>>),
    /// The idle thread has compared all of its list.
    Compared(Vec<ImageReport>),
    End,
}

impl Scrubber {
    /// Starts the thread with this body, if it does not run yet. Without a thread, because the system gives none, nothing is compared until
    /// the next call.
    pub(crate) fn start(
        &self,
        body: impl FnOnce(Sender<ScrubMessage>, Receiver<ScrubMessage>, Arc<AtomicBool>) + Send + 'static,
    ) {
        let mut running = self.running.lock();
        if running.is_some() || self.is_ending.load(Ordering::Relaxed) {
            return;
        }
        let (messages, received) = mpsc::channel();
        let (answers, is_ending) = (messages.clone(), self.is_ending.clone());
        let run = move || body(answers, received, is_ending);
        match background::spawn(Kind::Background, "reslot-scrub", run) {
            Ok(thread) => *running = Some(Running { messages, thread }),
            Err(error) => tracing::error!(%error, "no thread could be started that compares images with their artifacts"),
        }
    }

    /// Has all images compared, and waits for that. Empty if there is no scrub thread, or on it.
    pub(crate) fn verify(&self) -> Vec<ImageReport> {
        let (answer, reports) = mpsc::channel();
        match &*self.running.lock() {
            Some(running) if running.thread.thread().id() != thread::current().id() => {
                let _ = running.messages.send(ScrubMessage::Verify(answer));
            }
            _ => return Vec::new(),
        }
        reports.recv().unwrap_or_default()
    }

    /// The scrub thread, if it runs.
    pub(crate) fn thread(&self) -> Option<ThreadId> {
        self.running.lock().as_ref().map(|running| running.thread.thread().id())
    }

    /// Ends the scrub thread. The idle thread ends by itself when it gets the processor; it has nothing of the host but the list of images.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
        let running = self.running.lock().take();
        if let Some(Running { messages, thread }) = running {
            let _ = messages.send(ScrubMessage::End);
            let _ = thread.join();
        }
    }

    /// In a forked child, which has none of the threads.
    pub(crate) fn forget(&self) {
        std::mem::forget(self.running.try_lock().and_then(|mut running| running.take()));
    }
}
