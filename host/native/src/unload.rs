//! Closing an image and proving that it is gone. Only the reaper calls this, after the last call and the last hook.

use super::{loaded, open::Image, remains::Remains};
use reslot_engine::{Holding, Unloading};
use reslot_report::{QuarantineReason, UnloadReport};
use std::time::Instant;

/// What keeps an image whose instance is gone, looked at without doing anything.
pub(super) fn holding(image: &Image) -> Holding {
    match image.library {
        Some(_) => image.resources.holding(),
        None => Holding::Nothing,
    }
}

/// Closes an image whose instance is gone and in which no thread runs.
pub(super) fn close(mut image: Box<Image>) -> Unloading {
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
        let mut report = UnloadReport::default();
        report.thread_locals_run = closed.destructors_run;
        report.thread_locals_skipped = closed.destructors_skipped;
        report.skipped_threads = closed.skipped_threads;
        report.file_bytes_left = closed.file_bytes_left;
        report.names = names;
        report.close = begun.elapsed().saturating_sub(names);
        image.report = report;
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
    let mut report = std::mem::take(&mut image.report);
    report.live_bytes_left = image.remains.live_bytes;
    report.bytes_freed = freed.bytes;
    report.blocks_freed = freed.blocks;
    report
}

/// The second witness: why it would not say that the image is gone.
fn kernel_knows(image: &Image) -> Option<String> {
    match loaded::executable_mapping_of(&image.staged.name_in_map()) {
        Ok(false) => None,
        Ok(true) => Some("the kernel still lists executable memory of it".to_owned()),
        Err(error) => Some(format!("the kernel's map cannot be read, so nothing is proven: {error}")),
    }
}
