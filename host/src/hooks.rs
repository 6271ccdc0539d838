//! Threads on which hooks of plugins run, so that one that never comes back costs its own image and nothing else. Whoever runs a
//! hook waits for it as long as the policy allows and then goes on without it; what the hook works on goes to the reaper from
//! here, whenever it comes back. Knows nothing of plugins: a job is any closure.

use crate::image::safe_point;
use parking_lot::Mutex;
use std::{
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A host's threads for hooks.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Arc<Mutex<Threads>>);

#[derive(Default)]
struct Threads {
    idle: Vec<Worker>,
    /// The host goes: whoever becomes idle ends.
    ended: bool,
}

struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

enum Job {
    Run(Box<dyn FnOnce() + Send>),
    /// An image waits for thread-locals that its hooks have left on this thread.
    Attention,
}

/// A hook did not come back in time. It still runs, and keeps what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TookTooLong;

/// How many idle threads are kept. One does unless a hook hangs.
const KEPT_IDLE: usize = 2;

impl Hooks {
    /// Runs a hook and waits for it, at most so long. A panic in `job` that is not contained is the host's own, and goes on here.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        most: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TookTooLong> {
        let (done, answer) = mpsc::sync_channel(1);
        self.start(move || {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            // If nobody waits any more, what the hook worked on is dropped here, and so goes to the reaper.
            drop(done.send(outcome));
        });
        match soon(&answer).map_or_else(|| answer.recv_timeout(most), Ok) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(TookTooLong),
        }
    }

    /// Runs a job on one of the threads, or on a new one. If the system gives none, here.
    pub(crate) fn start(&self, job: impl FnOnce() + Send + 'static) {
        let idle = self.0.lock().idle.pop();
        let mut job: Box<dyn FnOnce() + Send> = Box::new(job);
        if let Some(worker) = idle {
            let jobs = worker.jobs.clone();
            let Self(threads) = self.clone();
            let body = job;
            let run = Box::new(move || {
                body();
                rest(&threads, worker);
            });
            match jobs.send(Job::Run(run)) {
                Ok(()) => return,
                Err(mpsc::SendError(Job::Run(unsent))) => job = unsent,
                Err(_) => unreachable!("what was sent was a job"),
            }
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let Self(threads) = self.clone();
        let begun = mpsc::channel::<(Worker, Box<dyn FnOnce() + Send>)>();
        let spawned = thread::Builder::new().name("reslot-hooks".to_owned()).spawn(move || {
            if let Ok((worker, job)) = begun.1.recv() {
                job();
                safe_point();
                rest(&threads, worker);
                drop(threads);
                serve(&queue);
            }
        });
        match spawned {
            Ok(thread) => drop(begun.0.send((Worker { jobs, thread }, job))),
            Err(error) => {
                tracing::error!(%error, "no thread for a plugin's hook; it runs without a deadline");
                job();
            }
        }
    }

    /// Has the idle threads come to a safe point.
    pub(crate) fn call_attention(&self) {
        for worker in &self.0.lock().idle {
            let _ = worker.jobs.send(Job::Attention);
        }
    }

    /// Ends the idle threads, and each other when its hook comes back.
    pub(crate) fn end(&self) {
        let idle = {
            let mut threads = self.0.lock();
            threads.ended = true;
            std::mem::take(&mut threads.idle)
        };
        for Worker { jobs, thread } in idle {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

/// Puts a thread among the idle ones, unless there are enough.
fn rest(threads: &Mutex<Threads>, worker: Worker) {
    let mut threads = threads.lock();
    if !threads.ended && threads.idle.len() < KEPT_IDLE {
        threads.idle.push(worker);
    }
    // Otherwise its queue ends here, and with it the thread.
}

/// Most hooks take less time than it takes to wake a thread, and one is often followed by the next.
const SOON: Duration = Duration::from_micros(25);

/// What comes within a moment, looked for without going to sleep.
fn soon<T>(queue: &mpsc::Receiver<T>) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        if let Ok(come) = queue.try_recv() {
            return Some(come);
        }
        hint::spin_loop();
    }
    None
}

fn serve(queue: &mpsc::Receiver<Job>) {
    while let Ok(job) = soon(queue).map_or_else(|| queue.recv(), Ok) {
        match job {
            Job::Run(job) => job(),
            Job::Attention => {}
        }
        safe_point();
    }
}
