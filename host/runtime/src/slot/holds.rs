//! Who holds what: a note that each reader (and, with the debug option, each `slot.load()`) keeps of the view that it holds, for
//! `Host::who_holds`. Nothing here keeps anything alive, and nothing here is on the way of a call.

use super::view::View;
use parking_lot::Mutex;
use std::{
    panic::Location,
    sync::{Arc, Weak},
    thread,
    time::Instant,
};

/// Who took hold of something, when and where.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) thread: String,
    pub(crate) since: Instant,
    pub(crate) at: &'static Location<'static>,
}

impl Taken {
    pub(crate) fn here(at: &'static Location<'static>) -> Self {
        let here = thread::current();
        let thread = match here.name() {
            Some(name) => name.to_owned(),
            None => format!("{:?}", here.id()),
        };
        let since = Instant::now();
        Self { thread, since, at }
    }
}

/// What one reader, or one answer of `slot.load()`, holds.
pub(crate) struct HoldRecord {
    pub(crate) by: HoldBy,
    hold: Mutex<Option<(Weak<View>, Taken)>>,
}

/// What kind of thing holds a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldBy {
    Reader,
    Load,
}

impl HoldRecord {
    pub(crate) fn new(by: HoldBy) -> Arc<Self> {
        Arc::new(Self {
            by,
            hold: Mutex::default(),
        })
    }

    pub(crate) fn takes(&self, view: &Arc<View>, taken: Taken) {
        *self.hold.lock() = Some((Arc::downgrade(view), taken));
    }

    pub(crate) fn lets_go(&self) {
        *self.hold.lock() = None;
    }

    /// The view that is held, and who took it. Whoever drops the view last ends generations, so not with a lock held.
    pub(crate) fn held(&self) -> Option<(Arc<View>, Taken)> {
        let hold = self.hold.lock().clone()?;
        Some((hold.0.upgrade()?, hold.1))
    }
}
