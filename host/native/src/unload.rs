//! Closes an image and proves that it is unmapped. Only the reaper calls this, after the last call and the last hook.

use super::{
    loaded::{self, Proof},
    open::Image,
    remains::Remains,
};
use reslot_engine::{Holding, Unloading};
use reslot_report::{QuarantineReason, UnloadReport};
use std::time::Instant;

/// What keeps an image whose instance is destroyed. This only looks, and changes nothing.
pub(super) fn holding(image: &Image) -> Holding {
    match image.library {
        Some(_) => image.ledger.holding(),
        None => Holding::Nothing,
    }
}

/// Closes an image whose instance is destroyed, unless a thread runs in it or a signal handler points into it.
pub(super) fn close(mut image: Box<Image>) -> Unloading {
    let begun = Instant::now();
    if image.library.is_some() {
        let signals = loaded::signal_handlers_in(&image.mapped.range);
        if !signals.is_empty() {
            return Unloading::Stays(image, QuarantineReason::SignalHandlers(signals));
        }
        let Some(closed) = image.ledger.close() else {
            return Unloading::Busy(image);
        };
        if let Some(log_forwarder) = image.ledger.log_forwarder() {
            log_forwarder.close_spans();
        }
        // Look up the names of backtraces that are still held, while the private copy exists.
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
    // On a retry, after `dlclose` was called before, only this part runs.
    let proving = Instant::now();
    let proof = Proof::of(&image.staged);
    image.report.prove = proving.elapsed();
    match proof {
        Proof::Unmapped => Unloading::Unmapped(free_remains(&mut image)),
        Proof::ListedByLoader => {
            let why = "its entry is still in the loader's list: another image needs it, or it marked itself as never to be unloaded";
            kept_by_loader(image, why.to_owned())
        }
        Proof::Missing(why) => kept_by_loader(image, why),
    }
}

fn kept_by_loader(image: Box<Image>, why: String) -> Unloading {
    Unloading::Stays(image, QuarantineReason::LoaderKeepsIt(why))
}

/// Frees the heap memory of an image that is proven unmapped, and completes the report.
fn free_remains(image: &mut Image) -> UnloadReport {
    // SAFETY: the only caller is `close`, after `Proof::Unmapped`.
    let freed = unsafe { image.remains.free() };
    let mut report = std::mem::take(&mut image.report);
    report.live_bytes_left = image.remains.live_bytes;
    report.bytes_freed = freed.bytes;
    report.blocks_freed = freed.blocks;
    report
}
