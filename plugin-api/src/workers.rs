//! Threads that a plugin starts with `Context::spawn`: asked to end when the plugin is stopped. The statics here are the image's
//! own, and an image has one instance. The host waits for them, without blocking anything else. Threads that a plugin makes by other ways are not known here; the host
//! finds those through the replaced `pthread_create`.

use crate::{
    inside,
    interface::discard,
    plugin::{Context, PluginError},
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
        stopping: false,
        starts: 0,
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
    stopping: bool,
    /// How often the plugin was started again after a stop.
    starts: u64,
    running: Vec<(u64, String)>,
    last: u64,
}

/// What a thread that was started with [`Context::spawn`] asks whether it is to end.
#[derive(Debug)]
pub struct Stopping {
    /// The start that the thread belongs to. One that overlooks a stop is not to live on when the plugin is started again.
    start: u64,
}

impl Stopping {
    /// Whether the plugin is being stopped.
    pub fn is_set(&self) -> bool {
        WORKERS.lock().stops(self.start)
    }

    /// Waits until the plugin is being stopped, at most so long; answers whether it is. A thread that does something every so
    /// often waits here in between, and ends at once when it is told to:
    ///
    /// ```no_run
    /// # fn body(stopping: &reslot_plugin_api::Stopping) {
    /// while !stopping.wait(std::time::Duration::from_secs(1)) {
    ///     // what is to be done each second
    /// }
    /// # }
    /// ```
    pub fn wait(&self, most: Duration) -> bool {
        let deadline = Instant::now().checked_add(most);
        let mut state = WORKERS.lock();
        while !state.stops(self.start) {
            let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state = WORKERS.wait(state, left);
        }
        state.stops(self.start)
    }
}

impl State {
    fn stops(&self, start: u64) -> bool {
        self.stopping || self.starts != start
    }
}

impl Context<'_> {
    /// Starts a thread that lives no longer than the plugin: it is asked to end before the plugin's `stop` is called, and waited
    /// for between `stop` and the drop of the instance, so it need not be kept or joined. `name` is what reports call it; the kernel keeps the first 15
    /// bytes.
    ///
    /// A thread that does not end within the host's drain deadline is named in the report; the instance is dropped all the same,
    /// and the image stays mapped until the thread has ended.
    ///
    /// # Errors
    /// If the system gives no thread, the name has a zero byte in it, or the plugin is being stopped.
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
        let mut state = WORKERS.lock();
        if state.stopping {
            return Err(format!("the plugin is being stopped, so the thread {name:?} is not started").into());
        }
        state.last += 1;
        let (number, start) = (state.last, state.starts);
        state.running.push((number, name.to_owned()));
        drop(state);
        let running = Running(number);
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped at the end, also by a panic, and also if the thread was never made.
            let _running = running;
            // Its panic may have passed the hook by, and then nobody else tells of it.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| body(&Stopping { start }))) {
                inside::contained(&*payload, true);
                discard(payload);
            }
        });
        spawned.map_err(|error| format!("the thread {name:?} could not be started: {error}"))?;
        Ok(())
    }
}

/// Counts a worker as running until dropped.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        WORKERS.lock().running.retain(|(number, _)| *number != self.0);
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

/// Lets threads be started again, should the plugin have been stopped before.
pub(crate) fn begin() {
    let mut state = WORKERS.lock();
    if state.stopping {
        state.stopping = false;
        state.starts += 1;
    }
}

/// Asks the workers to end, and answers the names of those that have not.
pub(crate) fn ask_to_end() -> String {
    let mut state = WORKERS.lock();
    state.stopping = true;
    WORKERS.changed.notify_all();
    let names: Vec<_> = state.running.iter().map(|(_, name)| format!("{name:?}")).collect();
    cut(&names.join(", ")).into_owned()
}
