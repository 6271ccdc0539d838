//! Threads that a plugin starts with `Context::spawn`. They are asked to end when their instance is stopped. The statics
//! here belong to the image. An image may have two instances for a while after a rollback, so each thread has an instance.
//! In a program all linked plugins share the statics, so each thread also has an attachment. The host waits for the threads
//! without blocking anything else. Other threads of a plugin are unknown here; the host finds those of a loaded plugin
//! through the replaced `pthread_create`, and does not know those of a linked one.

use crate::{
    attachment::{Attachment, Entered},
    error::PluginError,
    inside,
    panic_payload::discard,
    plugin::Context,
    text::cut,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

static WORKERS: Workers = Workers {
    state: Mutex::new(State {
        running: Vec::new(),
        last: 0,
    }),
    changed: Condvar::new(),
};

struct Workers {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    running: Vec<Worker>,
    last: u64,
}

struct Worker {
    number: u64,
    name: String,
    /// The instance that has started it.
    instance: usize,
    /// The attachment; 0 in an image, where all threads belong to the same plugin.
    attachment: usize,
    /// Whether it was asked to end. The request stays when the instance is started again.
    asked: bool,
}

/// Tells a thread of [`Context::spawn`] when it must end.
#[derive(Debug)]
pub struct Stopping {
    /// The thread's.
    number: u64,
}

impl Stopping {
    /// Whether the plugin is being stopped.
    pub fn is_set(&self) -> bool {
        WORKERS.lock().is_asked(self.number)
    }

    /// Waits until the plugin is being stopped, at most for this time. Returns whether it is being stopped. A thread with
    /// periodic work can wait here, and then ends at once when it must:
    ///
    /// ```no_run
    /// # fn body(stopping: &reslot_plugin_api::Stopping) {
    /// while !stopping.wait(std::time::Duration::from_secs(1)) {
    ///     // the work of each second
    /// }
    /// # }
    /// ```
    pub fn wait(&self, most: Duration) -> bool {
        let deadline = Instant::now().checked_add(most);
        let mut state = WORKERS.lock();
        while !state.is_asked(self.number) {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state = WORKERS.wait(state, left);
        }
        state.is_asked(self.number)
    }
}

impl State {
    fn is_asked(&self, number: u64) -> bool {
        let worker = self.running.iter().find(|worker| worker.number == number);
        worker.is_none_or(|worker| worker.asked)
    }
}

impl Context<'_> {
    /// Starts a thread that lives no longer than the plugin. The host asks it to end before it calls the plugin's `stop`,
    /// and waits for it between `stop` and the drop of the instance, so you need not join it. Reports use `name`; the kernel
    /// keeps its first 15 bytes.
    ///
    /// If a thread does not end within the host's drain deadline, the report names it. The instance is dropped in any case,
    /// and the image stays mapped until the thread has ended. (A linked plugin has no image, and its code stays in any
    /// case.)
    ///
    /// # Errors
    /// If the system refuses a thread, the name contains a zero byte, or the plugin is being stopped.
    ///
    /// ```no_run
    /// # use reslot_plugin_api::{Context, Plugin, PluginError};
    /// # use std::time::Duration;
    /// # #[derive(Default)] struct Prices;
    /// impl Plugin for Prices {
    ///     fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
    ///         context.spawn("refresh", |stopping| while !stopping.wait(Duration::from_secs(60)) { /* refresh */ })
    ///     }
    /// }
    /// ```
    pub fn spawn(&self, name: &str, body: impl FnOnce(&Stopping) + Send + 'static) -> Result<(), PluginError> {
        if name.contains('\0') {
            return Err(format!("the thread name {name:?} has a zero byte in it").into());
        }
        if self.is_stopping() {
            return Err(format!("the plugin is being stopped, so the thread {name:?} is not started").into());
        }
        // It is made first, so that it is dropped last: the host gets the end of the thread after it was removed from the
        // list.
        let counted = match self.attachment() {
            Some(attachment) => Some(Counted::by_host_of(attachment, name)?),
            None => None,
        };
        let mut state = WORKERS.lock();
        state.last += 1;
        let number = state.last;
        state.running.push(Worker {
            number,
            name: name.to_owned(),
            instance: self.instance(),
            attachment: self.attachment().map_or(0, Attachment::number),
            asked: false,
        });
        drop(state);
        let running = Running(number);
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // It is dropped at the end, also after a panic, and also if the thread was not started.
            let counted = counted;
            let _running = running;
            let _entered = counted.as_ref().map(Counted::runs);
            // The panic may not have run the panic hook, so it is reported here.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(&Stopping { number }))) {
                inside::contained(&*payload, true);
                discard(payload);
            }
        });
        spawned.map_err(|error| format!("the thread {name:?} could not be started: {error}"))?;
        Ok(())
    }
}

/// The host counts a linked plugin's thread until this is dropped. (For a loaded plugin's thread the replaced libc functions
/// do this.)
struct Counted {
    attachment: Attachment,
    number: u64,
}

impl Counted {
    fn by_host_of(attachment: &Attachment, name: &str) -> Result<Self, PluginError> {
        let number = attachment.host().thread_starts();
        let number = number.ok_or_else(|| format!("the host lets no thread start any more, so {name:?} is not started"))?;
        let attachment = attachment.clone();
        Ok(Self { attachment, number })
    }

    /// The thread enters the plugin's code.
    fn runs(&self) -> Entered<'_> {
        self.attachment.host().thread_runs(self.number);
        self.attachment.enter()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.attachment.host().thread_ended(self.number);
    }
}

/// Counts a worker as running until dropped.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = WORKERS.lock();
        state.running.retain(|worker| worker.number != self.0);
        if state.running.is_empty() {
            // The static's memory would not be freed when the image is unmapped.
            state.running = Vec::new();
        }
        drop(state);
        WORKERS.changed.notify_all();
    }
}

impl Workers {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.changed
            .wait_timeout(state, most)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

/// Asks the workers of an instance to end, and returns the names of running ones.
pub(crate) fn ask_to_end_of(instance: usize) -> String {
    ask(|worker| worker.instance == instance)
}

/// Asks all workers of the image or the attachment to end, and returns the names of running ones.
pub(crate) fn ask_to_end(attachment: Option<&Attachment>) -> String {
    let attachment = attachment.map_or(0, Attachment::number);
    ask(|worker| worker.attachment == attachment)
}

fn ask(meant: impl Fn(&Worker) -> bool) -> String {
    let mut state = WORKERS.lock();
    let mut names = Vec::new();
    for worker in state.running.iter_mut().filter(|worker| meant(worker)) {
        worker.asked = true;
        names.push(format!("{:?}", worker.name));
    }
    WORKERS.changed.notify_all();
    cut(&names.join(", ")).into_owned()
}
