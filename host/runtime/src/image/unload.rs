//! Closing an image and proving that it is gone. Only the reaper calls this, after the last call and the last hook.

use super::{loaded, open::Image, remains::Remains, resources::Holding};
use std::time::{Duration, Instant};

/// Why an image could not be unmapped safely.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// Threads that the plugin started still run its code. The image is unmapped once they end.
    ThreadsRunning(Vec<String>),
    /// The process's handlers of these signals lie in the image.
    SignalHandlers(Vec<i32>),
    /// Its static constructors made so many keys with a destructor, or threads, before they could be told from the process's own:
    /// libc holds pointers into it for good. It was refused, and never served.
    StaticConstructors(usize),
    /// It was mapped, and then found not to be what its file had promised; what its static constructors have done is not known. It
    /// was refused, and never served.
    NotVerified,
    /// This hook of it has not come back: its code still runs. The image is unmapped once it does.
    HookRunning(&'static str),
    /// The loader kept it although nothing that the host knows of holds it.
    LoaderKeepsIt(String),
}

impl std::fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ThreadsRunning(names) => write!(
                f,
                "threads of the plugin still run: {}; end them in `stop` and the image goes",
                names.join(", ")
            ),
            Self::SignalHandlers(signals) => write!(
                f,
                "the handlers of signals {signals:?} point into it; put back the former ones in `stop` and the image goes"
            ),
            Self::StaticConstructors(count) => write!(
                f,
                "its static constructors gave libc {count} pointer(s) into it, for good; make keys and threads in `start` instead"
            ),
            Self::NotVerified => write!(
                f,
                "it is not what its file promised, and nobody knows what its static constructors have done"
            ),
            Self::HookRunning(hook) => write!(f, "its {hook} has not come back; when it does, the image goes"),
            Self::LoaderKeepsIt(why) => write!(f, "the loader keeps it: {why}"),
        }
    }
}

/// What an image left behind, and how long its end took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnloadReport {
    /// Thread-local destructors of the image that were run, on the threads they belonged to.
    pub thread_locals_run: u64,
    /// Thread-local destructors skipped because their threads live on and did not come to a safe point in time: what they would
    /// have freed stays allocated.
    pub thread_locals_skipped: u64,
    /// The names of those threads.
    pub skipped_threads: Vec<String>,
    /// Bytes of files that the image had mapped and left so. They stay: the account cannot know whether `mremap` moved one
    /// of them meanwhile, and unmapping what is somebody else's by now would be worse than the leak.
    pub file_bytes_left: usize,
    /// Bytes that the image still had allocated when it was closed; none if its plugin counts none (`allocator = own`).
    pub live_bytes_left: Option<u64>,
    /// Bytes of these that were freed once the image was proven gone: if its plugin asked for it (`allocator = freeing`).
    pub bytes_freed: u64,
    /// In how many blocks.
    pub blocks_freed: u64,
    /// Waiting for the image's threads to end, and for threads that live on to run their thread-local destructors.
    pub settle: Duration,
    /// Looking up the names in backtraces of its panics that somebody still holds.
    pub names: Duration,
    /// Closing it.
    pub close: Duration,
    /// Looking for what is left of it.
    pub prove: Duration,
}

/// How an unload ended.
pub(crate) enum Unloading {
    /// Neither the loader nor the kernel knows the image any more, and its private copy is deleted.
    Unmapped(UnloadReport),
    /// It stays, with the reason. It can be tried again.
    Stays(Box<Image>, QuarantineReason),
    /// A thread has just begun to run something in it: nothing was done.
    Busy(Box<Image>),
}

/// What keeps an image whose instance is gone, looked at without doing anything.
pub(crate) fn holding(image: &Image) -> Holding {
    match image.library {
        Some(_) => image.resources.holding(),
        None => Holding::Nothing,
    }
}

/// Closes an image whose instance is gone and in which no thread runs.
pub(crate) fn close(mut image: Box<Image>) -> Unloading {
    let begun = Instant::now();
    if image.library.is_some() {
        let signals = loaded::signal_handlers_in(&image.mapped.range);
        if !signals.is_empty() {
            return Unloading::Stays(image, QuarantineReason::SignalHandlers(signals));
        }
        let Some(closed) = image.resources.close() else {
            return Unloading::Busy(image);
        };
        if let Some(log_forwarder) = image.resources.log_forwarder() {
            log_forwarder.close_spans();
        }
        // While its copy is there: the names of backtraces that somebody still holds.
        let naming = Instant::now();
        image.symbols.close();
        let names = naming.elapsed();
        image.remains = Remains::take(&image);
        let loader = image.library.take().map(libloading::os::unix::Library::close);
        image.report = UnloadReport {
            thread_locals_run: closed.destructors_run,
            thread_locals_skipped: closed.destructors_skipped,
            skipped_threads: closed.skipped_threads,
            file_bytes_left: closed.file_bytes_left,
            names,
            close: begun.elapsed().saturating_sub(names),
            ..UnloadReport::default()
        };
        if let Some(Err(error)) = loader {
            return kept_by_loader(image, error.to_string());
        }
    }
    // Also a later look at one that the loader has kept.
    let proving = Instant::now();
    let why = match loaded::find(image.staged.path()) {
        Some(_) => Some(
            "its entry is still in the loader's list: another image needs it, or it marked itself as never to be unloaded"
                .to_owned(),
        ),
        None => kernel_knows(&image),
    };
    image.report.prove = proving.elapsed();
    match why {
        None => Unloading::Unmapped(with_remains(&mut image)),
        Some(why) => kept_by_loader(image, why),
    }
}

fn kept_by_loader(image: Box<Image>, why: String) -> Unloading {
    Unloading::Stays(image, QuarantineReason::LoaderKeepsIt(why))
}

/// Frees what the image has left, now that it is proven gone, and notes it.
fn with_remains(image: &mut Image) -> UnloadReport {
    // SAFETY: called where neither the loader nor the kernel knows the image any more, and nowhere else.
    let freed = unsafe { image.remains.free() };
    UnloadReport {
        live_bytes_left: image.remains.live_bytes,
        bytes_freed: freed.bytes,
        blocks_freed: freed.blocks,
        ..std::mem::take(&mut image.report)
    }
}

/// The second witness: why it would not say that the image is gone.
fn kernel_knows(image: &Image) -> Option<String> {
    match loaded::executable_mapping_of(&image.staged.name_in_map()) {
        Ok(false) => None,
        Ok(true) => Some("the kernel still lists executable memory of it".to_owned()),
        Err(error) => Some(format!("the kernel's map cannot be read, so nothing is proven: {error}")),
    }
}
