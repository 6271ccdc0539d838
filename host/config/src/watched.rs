//! Settings that are read again when their files change. They are read, merged and validated, and only then published; after
//! an error the last good ones stay in use, and the error is reported. Folders are watched and not files, so a file may be
//! written in place, renamed, deleted and made again, or reached through a link that is switched.

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
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The time after which a file that did not parse or did not exist is read again.
const ONCE_MORE: Duration = Duration::from_millis(100);
/// How long the first read waits for a file that a process is writing, and the interval of the tries.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

type Validate<T> = Box<dyn Fn(&T) -> Result<(), String> + Send + Sync>;
type OnChange<T> = Box<dyn Fn(&T, &T) + Send + Sync>;
type OnError = Box<dyn Fn(&ConfigError) + Send + Sync>;

/// Options of watched settings, from [`Watched::of`].
///
/// ```
/// use reslot::config::{Layers, Watched};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Settings {
///     port: u16,
/// }
///
/// let layers = Layers::new().variables("DESK", [("DESK__PORT", "0")]);
/// let builder = Watched::of(layers).validate(|new: &Settings| match new.port {
///     0 => Err("`port` must be at least 1"),
///     _ => Ok(()),
/// });
/// let error = builder.start().map(drop).unwrap_err(); // the first settings must be good
/// assert_eq!(error.to_string(), "`port` must be at least 1");
/// ```
pub struct WatchedBuilder<T> {
    layers: Layers,
    options: WatchOptions,
    validate: Validate<T>,
    on_change: OnChange<T>,
    on_error: OnError,
    on_waiting: OnError,
}

/// The current settings. Dropping it ends the watch.
///
/// ```
/// # use reslot::config::{ConfigError, Layers, Watched};
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     port: u16,
/// }
///
/// let layers = Layers::new().file("/etc/desk/desk.toml").variables("DESK", [("DESK__PORT", "80")]);
/// let settings = Watched::of(layers)
///     .validate(|new: &Settings| match new.port {
///         0 => Err("`port` must be at least 1"),
///         _ => Ok(()),
///     })
///     .on_change(|old, new| println!("{} → {}", old.port, new.port))
///     .on_error(|error| eprintln!("{error}"))
///     .start()?;
/// assert_eq!(settings.load().port, 80);
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
    /// The layers are being read and validated at this moment.
    looking: AtomicBool,
}

enum Signal {
    Look,
    Stop,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Watched<T> {
    /// Begins to describe watched settings from these layers.
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
    /// The last good settings. This is one atomic load and never waits. The returned snapshot does not change; load again to
    /// see later changes.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.shared.value.load()
    }

    /// Why the present files were refused; none if [`load`](Self::load) returns them, and in a forked child.
    pub fn last_error(&self) -> Option<Arc<ConfigError>> {
        match self.process.is_another() {
            // In a forked child the lock may stay locked forever.
            true => None,
            false => self.shared.error.lock().clone(),
        }
    }

    /// Reads the layers again: after a change of the environment, or to notice a changed file at once.
    pub fn look(&self) {
        // The thread that reads belongs to the parent.
        if self.process.is_another() {
            return;
        }
        let _ = self.signals.send(Signal::Look);
    }
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// A function that reads the layers again if they were refused. It does not keep the settings alive. It also reads them again if they are
    /// being validated at this moment, because that may end in a refusal by a generation that has just been replaced.
    pub(crate) fn looks_if_refused(&self) -> impl Fn() + Send + Sync + 'static {
        let (shared, signals) = (self.shared.clone(), Mutex::new(self.signals.clone()));
        move || {
            // In this order: the error is stored before the validation is over.
            if shared.looking.load(Ordering::SeqCst) || shared.error.lock().is_some() {
                let _ = signals.lock().send(Signal::Look);
            }
        }
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> WatchedBuilder<T> {
    /// Sets a validation. It runs before the settings are published, on the watch's thread.
    #[must_use]
    pub fn validate<E: fmt::Display>(mut self, validate: impl Fn(&T) -> Result<(), E> + Send + Sync + 'static) -> Self {
        self.validate = Box::new(move |value| validate(value).map_err(|error| error.to_string()));
        self
    }

    /// Sets a callback that gets the old and the new settings after they were published. It runs on the watch's thread.
    #[must_use]
    pub fn on_change(mut self, notify: impl Fn(&T, &T) + Send + Sync + 'static) -> Self {
        self.on_change = Box::new(notify);
        self
    }

    /// Sets a callback that gets the error if new settings are refused. It runs on the watch's thread.
    #[must_use]
    pub fn on_error(mut self, notify: impl Fn(&ConfigError) + Send + Sync + 'static) -> Self {
        self.on_error = Box::new(notify);
        self
    }

    /// Polls the files in this interval instead of using the system's events. Use it for network mounts.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.options.polling = Some(interval);
        self
    }

    /// Sets a callback that is called once when a file cannot be read yet, because a process has it open for writing. It
    /// runs on the watch's thread.
    #[must_use]
    pub fn on_waiting(mut self, notify: impl Fn(&ConfigError) + Send + Sync + 'static) -> Self {
        self.on_waiting = Box::new(notify);
        self
    }

    pub(crate) fn options(mut self, options: WatchOptions) -> Self {
        self.options = options;
        self
    }

    /// Reads the settings, and watches their files from now on.
    ///
    /// # Errors
    /// If the present settings are refused, a folder cannot be watched, or the system refuses to start a thread.
    pub fn start(self) -> Result<Watched<T>, ConfigError> {
        let (signals, inbox) = mpsc::channel();
        // The watch begins before the first read, so that no change is missed.
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
            looking: AtomicBool::new(false),
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
    // Decoding and validation run the program's code, which may panic.
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
    /// The last good settings.
    tree: serde_json::Value,
    there: Vec<PathBuf>,
    /// At the last read, a process had a file open for writing.
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
            // Several changes at once cause one read.
            while let Ok(next) = inbox.try_recv() {
                if matches!(next, Signal::Stop) {
                    return;
                }
            }
            self.shared.looking.store(true, Ordering::SeqCst);
            let looked = self.look();
            self.shared.looking.store(false, Ordering::SeqCst);
            once_more = match looked {
                ReadRetry::UntilGood => true,
                ReadRetry::Once => !by_itself,
                ReadRetry::No => false,
            };
        }
    }

    /// Reads the present files. Returns whether to read again.
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
                    // A panic of the program's callback must not end the watch.
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
        // The same error is reported only once.
        if before.is_none_or(|before| before.to_string() != error.to_string()) {
            let _ = catch_unwind(AssertUnwindSafe(|| (self.builder.on_error)(&error)));
        }
        match may_pass {
            true => ReadRetry::Once,
            false => ReadRetry::No,
        }
    }
}

/// Whether to read again without an event.
enum ReadRetry {
    No,
    /// The file may be incomplete.
    Once,
    /// A process has it open for writing.
    UntilGood,
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        // The threads belong to the parent.
        if self.process.is_another() {
            std::mem::forget((self.watch.take(), self.thread.take(), self.signals.clone()));
            return;
        }
        self.watch = None;
        let _ = self.signals.send(Signal::Stop);
        if let Some(thread) = self.thread.take()
            // It may be dropped inside a callback; then the thread ends when the callback returns.
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
