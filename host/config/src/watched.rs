//! Settings that are read again when their files change: read, merged, validated, and only then published; otherwise the last good ones
//! stay and the error is told. Folders are watched, not files, so that it does not matter whether a file is written in place, renamed,
//! deleted and made again, or reached through a link that is swapped.

use crate::{
    error::ConfigError,
    layers::{Layers, Merged},
};
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use reslot_runtime::surface::{FileWatch, Process, WatchOptions, spawn_background};
use serde::de::DeserializeOwned;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// After how long a file that did not parse, or was not there, is looked at once more by itself.
const ONCE_MORE: Duration = Duration::from_millis(100);
/// How long the first look waits for a file that somebody is writing, and in which steps.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

type Validate<T> = Box<dyn Fn(&T) -> Result<(), String> + Send + Sync>;
type OnChange<T> = Box<dyn Fn(&T, &T) + Send + Sync>;
type OnError = Box<dyn Fn(&ConfigError) + Send + Sync>;

/// How settings are watched. Made by [`Watched::of`].
pub struct WatchedBuilder<T> {
    layers: Layers,
    options: WatchOptions,
    validate: Validate<T>,
    on_change: OnChange<T>,
    on_error: OnError,
    on_waiting: OnError,
}

/// Settings as they are now. Dropping it ends the watch.
///
/// ```no_run
/// # use reslot::config::{ConfigError, Layers, Watched};
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     port: u16,
/// }
///
/// let layers = Layers::new().file("/etc/desk/desk.toml").environment("DESK");
/// let settings = Watched::of(layers)
///     .validate(|new: &Settings| match new.port {
///         0 => Err("`port` is 1 at least"),
///         _ => Ok(()),
///     })
///     .on_change(|old, new| println!("{} → {}", old.port, new.port))
///     .on_error(|error| eprintln!("{error}"))
///     .start()?;
/// println!("{}", settings.load().port);
/// # Ok::<(), ConfigError>(())
/// ```
pub struct Watched<T> {
    shared: Arc<Shared<T>>,
    signals: Sender<Signal>,
    watch: Option<FileWatch>,
    thread: Option<JoinHandle<()>>,
    process: Process,
}

struct Shared<T> {
    value: ArcSwap<T>,
    error: Mutex<Option<Arc<ConfigError>>>,
}

enum Signal {
    Look,
    Stop,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Watched<T> {
    /// Of these layers.
    #[must_use]
    pub fn of(layers: Layers) -> WatchedBuilder<T> {
        WatchedBuilder {
            layers,
            options: WatchOptions::default(),
            validate: Box::new(|_| Ok(())),
            on_change: Box::new(|_, _| {}),
            on_error: Box::new(|_| {}),
            on_waiting: Box::new(|_| {}),
        }
    }
}

impl<T> Watched<T> {
    /// The last good settings: one atomic load, never a wait. What it answers stays what it is; load again for what has changed since.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.shared.value.load()
    }

    /// Why the files as they are now are not what [`load`](Self::load) answers; none if they are, or in a forked child.
    pub fn last_error(&self) -> Option<Arc<ConfigError>> {
        match self.process.is_another() {
            // The lock may never be free in a forked child.
            true => None,
            false => self.shared.error.lock().clone(),
        }
    }

    /// Has the layers read again: for a changed environment, or where a file's change is not to be waited for.
    pub fn look(&self) {
        // The thread that reads them is the parent's.
        if self.process.is_another() {
            return;
        }
        let _ = self.signals.send(Signal::Look);
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Has the layers read again if they were refused: by something that does not keep them.
    pub(crate) fn looks_if_refused(&self) -> impl Fn() + Send + Sync + 'static {
        let (shared, signals) = (self.shared.clone(), Mutex::new(self.signals.clone()));
        move || {
            if shared.error.lock().is_some() {
                let _ = signals.lock().send(Signal::Look);
            }
        }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> WatchedBuilder<T> {
    /// What the settings must be, beside their form. Called before anything is published, on the watch's thread.
    #[must_use]
    pub fn validate<E: fmt::Display>(mut self, validate: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static) -> Self {
        self.validate = Box::new(move |value| validate(value).map_err(|error| error.to_string()));
        self
    }

    /// Told after new settings were published: the old ones and the new ones. On the watch's thread.
    #[must_use]
    pub fn on_change(mut self, told: impl Fn(&T, &T) + Send + Sync + 'static) -> Self {
        self.on_change = Box::new(told);
        self
    }

    /// Told why new settings were not taken. On the watch's thread.
    #[must_use]
    pub fn on_error(mut self, told: impl Fn(&ConfigError) + Send + Sync + 'static) -> Self {
        self.on_error = Box::new(told);
        self
    }

    /// Looks at the files in this interval in place of asking the system for events: for network mounts.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.options.polling = Some(interval);
        self
    }

    /// Told once, when a file cannot be read yet because somebody has it open for writing. On the watch's thread.
    #[must_use]
    pub fn on_waiting(mut self, told: impl Fn(&ConfigError) + Send + Sync + 'static) -> Self {
        self.on_waiting = Box::new(told);
        self
    }

    pub(crate) fn options(mut self, options: WatchOptions) -> Self {
        self.options = options;
        self
    }

    /// Reads the settings, and watches their files from now on.
    ///
    /// # Errors
    /// If what is there now is not good; if a folder cannot be watched, or the system gives no thread.
    pub fn start(self) -> Result<Watched<T>, ConfigError> {
        let (signals, inbox) = mpsc::channel();
        // First the watch, then the look.
        let changed = signals.clone();
        let watch = FileWatch::start(self.layers.files(), &self.options, move |_| {
            let _ = changed.send(Signal::Look);
        })?;
        let deadline = Instant::now() + PATIENCE;
        let merged = loop {
            match self.layers.merge(&[]) {
                Err(error) if error.is_being_written() && Instant::now() < deadline => thread::sleep(PAUSE),
                merged => break merged?,
            }
        };
        let value = fit(&self.layers, &merged, &self.validate)?;
        let shared = Arc::new(Shared {
            value: ArcSwap::from_pointee(value),
            error: Mutex::new(None),
        });
        let reader = Reader {
            shared: shared.clone(),
            builder: self,
            tree: merged.tree,
            there: merged.there,
            waits: false,
        };
        let thread = spawn_background("reslot-config", move || reader.run(&inbox)).map_err(ConfigError::Thread)?;
        Ok(Watched {
            shared,
            signals,
            watch: Some(watch),
            thread: Some(thread),
            process: Process::this(),
        })
    }
}

fn fit<T: DeserializeOwned>(layers: &Layers, merged: &Merged, validate: &Validate<T>) -> Result<T, ConfigError> {
    let panicked = |_| ConfigError::Invalid {
        reason: "reading them into the program's type panicked".to_owned(),
    };
    // The program's own code, too.
    let value = catch_unwind(AssertUnwindSafe(|| layers.fit(merged))).map_err(panicked)??;
    let valid =
        catch_unwind(AssertUnwindSafe(|| validate(&value))).unwrap_or_else(|_| Err("the validation panicked".to_owned()));
    valid.map_err(|reason| ConfigError::Invalid { reason })?;
    Ok(value)
}

/// The watch's thread.
struct Reader<T> {
    shared: Arc<Shared<T>>,
    builder: WatchedBuilder<T>,
    /// What was read and good last.
    tree: serde_json::Value,
    there: Vec<PathBuf>,
    /// Somebody had a file open for writing at the last look.
    waits: bool,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Reader<T> {
    fn run(mut self, inbox: &Receiver<Signal>) {
        let mut once_more = false;
        loop {
            let signal = match once_more {
                true => inbox.recv_timeout(ONCE_MORE),
                false => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let by_itself = match signal {
                Ok(Signal::Look) => false,
                Err(RecvTimeoutError::Timeout) => true,
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            };
            // Many changes at once are one.
            while let Ok(next) = inbox.try_recv() {
                if matches!(next, Signal::Stop) {
                    return;
                }
            }
            once_more = match self.look() {
                ReadRetry::UntilGood => true,
                ReadRetry::Once => !by_itself,
                ReadRetry::No => false,
            };
        }
    }

    /// Reads what is there now. Answers whether to look again.
    fn look(&mut self) -> ReadRetry {
        let merged = match self.builder.layers.merge(&self.there) {
            Ok(merged) => merged,
            Err(error) if error.is_being_written() => {
                if !std::mem::replace(&mut self.waits, true) {
                    let _ = catch_unwind(AssertUnwindSafe(|| (self.builder.on_waiting)(&error)));
                }
                return ReadRetry::UntilGood;
            }
            other => {
                self.waits = false;
                match other {
                    Ok(merged) => merged,
                    Err(error) => return self.refuse(error),
                }
            }
        };
        self.there.clone_from(&merged.there);
        let failed_before = self.shared.error.lock().is_some();
        if merged.tree == self.tree && !failed_before {
            return ReadRetry::No;
        }
        match fit(&self.builder.layers, &merged, &self.builder.validate) {
            Ok(new) => {
                let new = Arc::new(new);
                let changed = self.tree != merged.tree;
                self.tree = merged.tree;
                *self.shared.error.lock() = None;
                if changed {
                    let old = self.shared.value.swap(new.clone());
                    // The program's own panic is not to end the watch.
                    let _ = catch_unwind(AssertUnwindSafe(|| (self.builder.on_change)(&old, &new)));
                }
                ReadRetry::No
            }
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&self, error: ConfigError) -> ReadRetry {
        let (may_pass, error) = (error.may_pass(), Arc::new(error));
        let before = self.shared.error.lock().replace(error.clone());
        // The same thing is told once.
        if before.is_none_or(|before| before.to_string() != error.to_string()) {
            let _ = catch_unwind(AssertUnwindSafe(|| (self.builder.on_error)(&error)));
        }
        match may_pass {
            true => ReadRetry::Once,
            false => ReadRetry::No,
        }
    }
}

/// Whether to look again without another sign of a change.
enum ReadRetry {
    No,
    /// It may be half written.
    Once,
    /// Somebody has it open for writing.
    UntilGood,
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        // The threads are the parent's.
        if self.process.is_another() {
            std::mem::forget((self.watch.take(), self.thread.take(), self.signals.clone()));
            return;
        }
        self.watch = None;
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take()
            // Dropped inside of a callback: the thread ends when that returns.
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("value", &self.load()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for WatchedBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedBuilder")
            .field("layers", &self.layers)
            .finish_non_exhaustive()
    }
}
