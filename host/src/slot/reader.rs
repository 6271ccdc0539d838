//! A thread's way to the current view, for the price of one atomic load: it keeps the last view it saw and asks only whether
//! that is still the current one. The price of the price: an idle reader holds what it saw last.

use super::view::View;
use crate::host::Inner;
use parking_lot::Mutex;
use std::{
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// One thread's reader; made by [`Host::reader`](crate::Host::reader). It may move to another thread, but not be shared.
///
/// A reader holds the view of its last look, and with it those generations, until its next look. A thread that is going to
/// wait for long calls [`release`](Self::release) first; one that does not is named in
/// [`Event::Straggling`](crate::Event::Straggling).
pub struct Reader {
    view: Arc<View>,
    seen: u64,
    record: Arc<ReaderRecord>,
    host: Arc<Inner>,
    not_sync: PhantomData<std::cell::Cell<()>>,
}

/// What the host knows of a reader.
pub(crate) struct ReaderRecord {
    /// The number of the view that it holds; 0 for none.
    holds: AtomicU64,
    thread: Mutex<String>,
}

impl ReaderRecord {
    /// The name of its thread, if it holds a view older than `number`.
    pub(crate) fn holds_older_than(&self, number: u64) -> Option<String> {
        let holds = self.holds.load(Ordering::Relaxed);
        (holds != 0 && holds < number).then(|| self.thread.lock().clone())
    }
}

impl Reader {
    pub(crate) fn new(host: Arc<Inner>) -> Self {
        let record = Arc::new(ReaderRecord {
            holds: AtomicU64::new(0),
            thread: Mutex::default(),
        });
        host.enlist_reader(&record);
        Self {
            view: host.no_view.clone(),
            seen: 0,
            record,
            host,
            not_sync: PhantomData,
        }
    }

    /// The current view. It stays what it is for as long as the borrow is used, whatever is swapped meanwhile.
    #[inline(always)]
    pub fn view(&mut self) -> &View {
        // The number is raised after the view was stored, so whoever sees it finds that view or a newer one.
        if self.host.view_number.load(Ordering::Acquire) > self.seen {
            self.look();
        }
        &self.view
    }

    /// Lets go of the view of the last look.
    pub fn release(&mut self) {
        self.view = self.host.no_view.clone();
        self.seen = 0;
        self.record.holds.store(0, Ordering::Relaxed);
    }

    #[cold]
    #[inline(never)]
    fn look(&mut self) {
        self.view = self.host.view.load_full();
        self.seen = self.view.number();
        let here = thread::current();
        *self.record.thread.lock() = match here.name() {
            Some(name) => name.to_owned(),
            None => format!("{:?}", here.id()),
        };
        self.record.holds.store(self.seen, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("view", &self.seen).finish_non_exhaustive()
    }
}
