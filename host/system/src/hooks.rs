//! Threads for hooks of plugins, so that a hook that never returns costs only its own image. The caller waits for a hook as
//! long as the policy allows, and then continues without it. When the hook returns later, the thread drops the hook's data,
//! which sends it to the reaper. A job is any closure.

use crate::{
    awake::Limit,
    background::{self, Kind, Processors},
    safe_point,
};
use reslot_sync::{
    Mutex,
    mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
};
use std::{
    cell::Cell,
    hint, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
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
    /// The host is shutting down: a thread that becomes idle ends.
    ended: bool,
}

struct Worker {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

enum Job {
    Run(Body, Resting),
    /// An image waits for thread-locals that its hooks left on this thread.
    SafePoint,
    /// A job will come soon, so the thread wakes up now.
    Wake,
}

/// A job. It drops its argument as soon as the thread is free for another job.
type Body = Box<dyn FnOnce(Resting) + Send>;

/// Returns the thread to the idle ones when it is dropped. If there are enough idle threads, the thread's queue is dropped,
/// and the thread ends.
struct Resting {
    threads: Arc<Mutex<Threads>>,
    worker: Option<Worker>,
}

impl Drop for Resting {
    fn drop(&mut self) {
        // A panic ends the thread.
        let Some(worker) = self.worker.take().filter(|_| !thread::panicking()) else {
            return;
        };
        let mut threads = self.threads.lock();
        if !threads.ended && threads.idle.len() < KEPT_IDLE {
            threads.idle.push(worker);
        }
    }
}

/// A hook did not return in time. It still runs, and keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TookTooLong;

/// The number of idle threads that are kept. One is enough unless a hook hangs.
const KEPT_IDLE: usize = 2;

impl Default for Hooks {
    fn default() -> Self {
        Self::new()
    }
}

impl Hooks {
    /// The threads use the processors of the caller.
    pub fn new() -> Self {
        Self {
            threads: Arc::default(),
            processors: Processors::of_this_thread(),
        }
    }

    /// Runs a hook and waits for it, at most for this time, not counting time in which the whole process was stopped. A panic of `job` is a bug of the host, and continues in the
    /// caller.
    pub fn run<T: Send + 'static>(
        &self,
        most: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, TookTooLong> {
        let (done, answer) = mpsc::sync_channel(1);
        self.start_on(move |resting| {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            // The thread becomes idle first, because the waiting thread often has another job, and then finds this thread
            // awake.
            drop(resting);
            // If the caller does not wait any more, the hook's data is dropped here, which sends it to the reaper.
            drop(done.send(outcome));
        });
        let patiently = || {
            Limit::begin(most).wait(|slice| match answer.recv_timeout(slice) {
                Ok(outcome) => Some(Some(outcome)),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(None),
            })
        };
        match mpsc::poll(&answer, SOON, hint::spin_loop).or_else(|| patiently().flatten()) {
            Some(Ok(value)) => Ok(value),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(TookTooLong),
        }
    }

    /// Runs a job on an idle thread or a new one. If the system refuses a new thread, it runs here.
    pub fn start(&self, job: impl FnOnce() + Send + 'static) {
        self.start_on(move |resting| {
            job();
            drop(resting);
        });
    }

    fn start_on(&self, job: impl FnOnce(Resting) + Send + 'static) {
        let mut body: Body = Box::new(job);
        // This is not in the condition, because then the lock would be held as long as the worker.
        let idle = self.threads.lock().idle.pop();
        if let Some(worker) = idle {
            let jobs = worker.jobs.clone();
            match jobs.send(Job::Run(body, self.resting(Some(worker)))) {
                Ok(()) => return,
                // The thread has ended.
                Err(mpsc::SendError(Job::Run(unsent, mut resting))) => {
                    resting.worker = None;
                    body = unsent;
                }
                Err(_) => unreachable!("what was sent was a job"),
            }
        }
        let (jobs, queue) = mpsc::channel::<Job>();
        let begun = mpsc::channel::<(Body, Resting)>();
        // The calling owner may be pinned to one processor, so the thread gets the processors of the host.
        let processors = self.processors;
        let pool = self.address();
        let spawned = background::spawn(Kind::Foreground, "reslot-hooks", move || {
            processors.set_for_this_thread();
            POOL.set(pool);
            if let Ok((body, resting)) = begun.1.recv() {
                body(resting);
                safe_point();
                run_jobs(&queue);
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

    /// Wakes an idle thread for a job that will come soon. Waking it later would take longer than most hooks.
    pub fn wake_one(&self) {
        if let Some(worker) = self.threads.lock().idle.last() {
            let _ = worker.jobs.send(Job::Wake);
        }
    }

    /// Asks the idle threads to run a safe point.
    pub fn request_safe_points(&self) {
        for worker in &self.threads.lock().idle {
            let _ = worker.jobs.send(Job::SafePoint);
        }
    }

    /// Whether the calling thread is one of these threads.
    pub fn is_own_thread(&self) -> bool {
        POOL.get() == self.address()
    }

    fn address(&self) -> usize {
        Arc::as_ptr(&self.threads).addr()
    }

    /// Ends the idle threads. Busy threads end when their hooks return.
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

reslot_sync::thread_local! {
    /// On a hook thread, the address of the data that its host's threads share; 0 on other threads.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// A number that no other living thread has, and that is not 0.
pub fn this_thread() -> usize {
    reslot_sync::thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

reslot_sync::thread_local! {
    /// The thread that waits for what this one does.
    static ON_BEHALF_OF: Cell<usize> = const { Cell::new(0) };
}

/// Runs `body` for `thread`, which waits for it. A call in `body` does not wait at a gate that `thread` has closed.
pub fn on_behalf_of<R>(thread: usize, body: impl FnOnce() -> R) -> R {
    /// Restores the previous value, however the body ends.
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            ON_BEHALF_OF.set(self.0);
        }
    }
    let _restore = Restore(ON_BEHALF_OF.replace(thread));
    body()
}

/// The thread that waits for this one; 0 if there is none.
pub fn waiting_thread() -> usize {
    ON_BEHALF_OF.get()
}

/// Runs `body` on a new thread with this stack size, and waits for it without a limit. Only the used part of the stack costs
/// memory, and it is freed afterwards.
///
/// # Errors
/// If the system refuses such a thread. Then `body` was not run.
pub fn with_stack<R: Send>(bytes: usize, body: impl FnOnce() -> R + Send) -> io::Result<R> {
    let waiting = match waiting_thread() {
        0 => this_thread(),
        waiting => waiting,
    };
    match thread::on_own_stack("reslot-deep", bytes, move || on_behalf_of(waiting, body))? {
        Ok(answer) => Ok(answer),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// How long a woken thread stays awake: enough for encoding a small state before the job comes. A longer time would waste
/// processor time.
const AWAKE: Duration = Duration::from_micros(100);

/// How long a thread polls for the next job. Most hooks take less time than waking a thread, and hooks often follow one
/// another.
const SOON: Duration = Duration::from_micros(25);

fn run_jobs(queue: &mpsc::Receiver<Job>) {
    let mut moment = SOON;
    // Another thread may need this processor, possibly the one that will send the job.
    while let Ok(job) = mpsc::poll(queue, moment, thread::yield_now).map_or_else(|| queue.recv(), Ok) {
        moment = match job {
            Job::Run(body, resting) => {
                body(resting);
                SOON
            }
            Job::SafePoint => SOON,
            Job::Wake => AWAKE,
        };
        safe_point();
    }
}

#[cfg(test)]
mod tests {
    use super::{Hooks, KEPT_IDLE, TookTooLong};
    use reslot_sync::mpsc;
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        time::Duration,
    };

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn late_hook_drops_its_data_on_its_thread_which_serves_again() {
        struct Data(mpsc::Sender<bool>, Hooks);
        impl Drop for Data {
            fn drop(&mut self) {
                let _ = self.0.send(self.1.is_own_thread());
            }
        }
        let hooks = Hooks::new();
        let (release, released) = mpsc::channel::<()>();
        let (dropped, drops) = mpsc::channel();
        let data = Data(dropped, hooks.clone());
        let late = hooks.run(Duration::ZERO, move || {
            let _ = released.recv();
            data
        });
        assert_eq!(late.err(), Some(TookTooLong));
        // Another hook does not wait for the one that hangs.
        assert_eq!(hooks.run(LONG, || 1), Ok(1));
        drop(release);
        assert_eq!(drops.recv_timeout(LONG), Ok(true));
        assert_eq!(hooks.threads.lock().idle.len(), 2);
        hooks.end();
    }

    #[test]
    fn panic_of_a_job_continues_in_the_caller_and_the_next_job_runs() {
        let hooks = Hooks::new();
        let panics = || hooks.run(LONG, || -> u32 { panic!("on purpose") });
        let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        assert_eq!(hooks.run(LONG, || 2), Ok(2));
        hooks.end();
    }

    #[test]
    fn no_more_threads_stay_than_are_kept_and_none_after_the_end() {
        let hooks = Hooks::new();
        let (begin, begun) = mpsc::channel();
        let all: Vec<_> = (0..=KEPT_IDLE)
            .map(|_| {
                let (release, released) = mpsc::channel::<()>();
                let (ended, end) = mpsc::channel::<()>();
                let begin = begin.clone();
                hooks.start_on(move |resting| {
                    let _ = begin.send(());
                    let _ = released.recv();
                    drop(resting);
                    drop(ended);
                });
                (release, end)
            })
            .collect();
        for _ in &all {
            begun.recv_timeout(LONG).expect("each job has a thread of its own");
        }
        let (last, others) = all.split_last().expect("there are some");
        for (release, end) in others {
            release.send(()).expect("the job waits");
            assert_eq!(end.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
        }
        assert_eq!(hooks.threads.lock().idle.len(), KEPT_IDLE);
        // A job that is still running when the host ends: its thread does not become idle any more.
        hooks.end();
        last.0.send(()).expect("the job waits");
        assert_eq!(last.1.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
        assert!(hooks.threads.lock().idle.is_empty());
    }
}
