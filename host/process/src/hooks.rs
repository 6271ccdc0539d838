//! Threads on which hooks of plugins run, so that one that never comes back costs its own image and nothing else. Whoever runs a
//! hook waits for it as long as the policy allows and then goes on without it; what the hook works on goes to the reaper from
//! here, whenever it comes back. Knows nothing of plugins: a job is any closure.

use crate::{
    background::{self, Kind, Processors},
    safe_point,
};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    hint, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// A host's threads for hooks.
#[derive(Clone)]
pub struct Hooks {
    threads: Arc<Mutex<Threads>>,
    processors: Processors,
}

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
    Run(Body, Resting),
    /// An image waits for thread-locals that its hooks have left on this thread.
    SafePoint,
    /// A job is about to come, and is to find this thread awake.
    Rouse,
}

/// What a thread runs. It lets go of its second half as soon as the thread is free for something else.
type Body = Box<dyn FnOnce(Resting) + Send>;

/// Puts a thread among the idle ones when it is dropped, unless there are enough: then its queue ends with this, and with it the thread.
struct Resting {
    threads: Arc<Mutex<Threads>>,
    worker: Option<Worker>,
}

impl Drop for Resting {
    fn drop(&mut self) {
        // A panic takes the thread along.
        let Some(worker) = self.worker.take().filter(|_| !thread::panicking()) else {
            return;
        };
        let mut threads = self.threads.lock();
        if !threads.ended && threads.idle.len() < KEPT_IDLE {
            threads.idle.push(worker);
        }
    }
}

/// A hook did not come back in time. It still runs, and keeps what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TookTooLong;

/// How many idle threads are kept. One does unless a hook hangs.
const KEPT_IDLE: usize = 2;

impl Default for Hooks {
    fn default() -> Self {
        Self::new()
    }
}

impl Hooks {
    /// Its threads run where the caller may.
    pub fn new() -> Self {
        Self {
            threads: Arc::default(),
            processors: Processors::of_this_thread(),
        }
    }

    /// Runs a hook and waits for it, at most so long. A panic in `job` that is not contained is the host's own, and goes on here.
    pub fn run<T: Send + 'static>(
        &self,
        most: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TookTooLong> {
        let (done, answer) = mpsc::sync_channel(1);
        self.start_on(move |resting| {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            // First: whoever has waited often has something more to be done, and finds this thread awake.
            drop(resting);
            // If nobody waits any more, what the hook worked on is dropped here, and so goes to the reaper.
            drop(done.send(outcome));
        });
        match soon(&answer, SOON, hint::spin_loop).map_or_else(|| answer.recv_timeout(most), Ok) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(TookTooLong),
        }
    }

    /// Runs a job on one of the threads, or on a new one. If the system gives none, here.
    pub fn start(&self, job: impl FnOnce() + Send + 'static) {
        self.start_on(move |resting| {
            job();
            drop(resting);
        });
    }

    fn start_on(&self, job: impl FnOnce(Resting) + Send + 'static) {
        let mut body: Body = Box::new(job);
        // Not in the condition: the lock would be held as long as the worker.
        let idle = self.threads.lock().idle.pop();
        if let Some(worker) = idle {
            let jobs = worker.jobs.clone();
            match jobs.send(Job::Run(body, self.resting(Some(worker)))) {
                Ok(()) => return,
                // The thread is gone.
                Err(mpsc::SendError(Job::Run(unsent, mut resting))) => {
                    resting.worker = None;
                    body = unsent;
                }
                Err(_) => unreachable!("what was sent was a job"),
            }
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let begun = mpsc::channel::<(Body, Resting)>();
        // An owner who starts it may be pinned to a processor of his own.
        let processors = self.processors;
        let pool = self.address();
        let spawned = background::spawn(Kind::Foreground, "reslot-hooks", move || {
            processors.take();
            POOL.set(pool);
            if let Ok((body, resting)) = begun.1.recv() {
                body(resting);
                safe_point();
                serve(&queue);
            }
        });
        match spawned {
            Ok(thread) => drop(begun.0.send((body, self.resting(Some(Worker { jobs, thread }))))),
            Err(error) => {
                tracing::error!(%error, "no thread for a plugin's hook; it runs without a deadline");
                body(self.resting(None));
            }
        }
    }

    fn resting(&self, worker: Option<Worker>) -> Resting {
        let threads = self.threads.clone();
        Resting { threads, worker }
    }

    /// Has a thread be awake for a moment, for a job that is about to come: to wake one then would take longer than most hooks.
    pub fn wake_all(&self) {
        if let Some(worker) = self.threads.lock().idle.last() {
            let _ = worker.jobs.send(Job::Rouse);
        }
    }

    /// Has the idle threads come to a safe point.
    pub fn request_safe_points(&self) {
        for worker in &self.threads.lock().idle {
            let _ = worker.jobs.send(Job::SafePoint);
        }
    }

    /// Whether the calling thread is one of these.
    pub fn is_own_thread(&self) -> bool {
        POOL.get() == self.address()
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.threads).addr()
    }

    /// Ends the idle threads, and each other when its hook comes back.
    pub fn end(&self) {
        let idle = {
            let mut threads = self.threads.lock();
            threads.ended = true;
            std::mem::take(&mut threads.idle)
        };
        for Worker { jobs, thread } in idle {
            drop(jobs);
            let _ = thread.join();
        }
    }
}

thread_local! {
    /// On a thread for hooks, the address of what its host's threads share; 0 on others.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// A number that no other living thread has, and that is not 0.
pub fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

thread_local! {
    /// The thread that waits for what this one does.
    static ON_BEHALF_OF: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body` for `thread`, which waits for it: what comes back to a gate that `thread` has closed does not wait for it.
pub fn on_behalf_of<R>(thread: usize, body: impl FnOnce() -> R) -> R {
    /// Puts back what was there before, however the body ends.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON_BEHALF_OF.set(self.0);
        }
    }
    let _restore = Restore(ON_BEHALF_OF.replace(thread));
    body()
}

/// The thread that waits for what this one does; 0 if none does.
pub fn waiting_thread() -> usize {
    ON_BEHALF_OF.get()
}

/// Runs `body` on a thread of its own with so much stack, and waits for it as long as it takes. The memory of the stack is taken from
/// the system only as far as it is used, and is given back afterwards.
///
/// # Errors
/// If the system gives no such thread. `body` was not run then.
pub fn with_stack<R: Send>(bytes: usize, body: impl FnOnce() -> R + Send) -> io::Result<R> {
    let waiting = match waiting_thread() {
        0 => this_thread(),
        waiting => waiting,
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("reslot-deep".to_owned()).stack_size(bytes);
        let thread = builder.spawn_scoped(scope, move || on_behalf_of(waiting, body))?;
        match thread.join() {
            Ok(answer) => Ok(answer),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A state may have to be encoded before the job comes. Longer, a thread that is awake for nothing takes more from others than it gives.
const ROUSED: Duration = Duration::from_micros(100);

/// Most hooks take less time than it takes to wake a thread, and one is often followed by the next.
const SOON: Duration = Duration::from_micros(25);

/// What comes within a moment, looked for without going to sleep.
fn soon<T>(queue: &mpsc::Receiver<T>, moment: Duration, between: fn()) -> Option<T> {
    let begun = Instant::now();
    while begun.elapsed() < moment {
        if let Ok(come) = queue.try_recv() {
            return Some(come);
        }
        between();
    }
    None
}

fn serve(queue: &mpsc::Receiver<Job>) {
    let mut moment = SOON;
    // Somebody else may want this processor, and it may be whoever the job is to come from.
    while let Ok(job) = soon(queue, moment, thread::yield_now).map_or_else(|| queue.recv(), Ok) {
        moment = match job {
            Job::Run(body, resting) => {
                body(resting);
                SOON
            }
            Job::SafePoint => SOON,
            Job::Rouse => ROUSED,
        };
        safe_point();
    }
}
