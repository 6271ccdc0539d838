//! The way to the scrub thread (`scrub.rs`), which compares images with their artifacts.

use reslot_report::ImageReport;
use reslot_sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
    mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle, ThreadId},
};
use reslot_system::background::{self, Kind};
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
    End,
}

/// Why there is no answer.
pub(crate) enum VerifyError {
    /// The calling thread is the scrub thread.
    Reentrant,
    HostEnds,
    /// The system gives no thread. The next call tries again.
    NoThread,
    Panicked,
}

impl Scrubber {
    /// Starts the thread with this body, if it does not run yet.
    pub(crate) fn start(&self, body: impl FnOnce(Receiver<ScrubMessage>, Arc<AtomicBool>) + Send + 'static) {
        let mut running = self.running.lock();
        if running.is_some() || self.is_ending.load(Ordering::Relaxed) {
            return;
        }
        let (messages, received) = mpsc::channel();
        let is_ending = self.is_ending.clone();
        let run = move || body(received, is_ending);
        match background::spawn(Kind::Background, "reslot-scrub", run) {
            Ok(thread) => {
                *running = Some(Running { messages, thread });
            }
            Err(error) => tracing::error!(%error, "no thread could be started that compares images with their artifacts"),
        }
    }

    /// Has all images compared, and waits for that, or for the end of the host.
    pub(crate) fn verify(&self) -> Result<Vec<ImageReport>, VerifyError> {
        let (answer, reports) = mpsc::channel();
        match &*self.running.lock() {
            Some(running) if running.thread.thread().id() == thread::current().id() => return Err(VerifyError::Reentrant),
            Some(running) => {
                let _ = running.messages.send(ScrubMessage::Verify(answer));
            }
            None if self.is_ending.load(Ordering::Relaxed) => return Err(VerifyError::HostEnds),
            None => return Err(VerifyError::NoThread),
        }
        reports.recv().map_err(|_| match self.is_ending.load(Ordering::Relaxed) {
            true => VerifyError::HostEnds,
            false => VerifyError::Panicked,
        })
    }

    /// The scrub thread, if it runs.
    pub(crate) fn thread(&self) -> Option<ThreadId> {
        self.running.lock().as_ref().map(|running| running.thread.thread().id())
    }

    /// Ends the scrub thread. The idle thread ends by itself when it gets the processor; it has nothing of the host.
    pub(crate) fn end(&self) {
        self.is_ending.store(true, Ordering::Release);
        let running = self.running.lock().take();
        if let Some(Running { messages, thread }) = running {
            let _ = messages.send(ScrubMessage::End);
            // It may wait for an idle processor.
            thread.thread().unpark();
            let _ = thread.join();
        }
    }

    /// In a forked child, which has none of the threads.
    pub(crate) fn forget(&self) {
        std::mem::forget(self.running.try_lock().and_then(|mut running| running.take()));
    }
}
