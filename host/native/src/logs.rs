//! What an image logs, told to the program's subscriber as if it were the program's own: with the plugin's target, level, fields,
//! file and line, and its slot and generation besides. A place in the plugin's code becomes one in the host (`places`), since a
//! subscriber may keep a pointer to it for ever; what is told from there are copies (`values`).
//!
//! Nothing is locked while the subscriber runs. Whatever a plugin logs from inside the subscriber is dropped, as by `tracing` itself:
//! otherwise a subscriber that calls plugins would have no end.

mod places;
mod values;

use parking_lot::{Mutex, RwLock};
use places::Place;
use reslot_engine::LogLevel;
use reslot_plugin_api::__private::{LogKind, LogRecord, LogValue, NO_PARENT, SpanDeed, contain};
use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tracing::{Event, Span, dispatcher::get_default, span};

/// How an image's events and spans are told.
pub struct LogForwarder {
    slot: Arc<str>,
    generation: u64,
    wanted: Box<dyn Fn() -> LogLevel + Send + Sync>,
    /// The places in its code that have spoken, by their addresses, which are good as long as the image.
    places: RwLock<HashMap<usize, &'static Place>>,
    spans: Mutex<HashMap<u64, Kept>>,
    last_span: AtomicU64,
}

/// A span of an image.
struct Kept {
    span: Arc<Open>,
    /// How many handles the image has on it.
    handles: u64,
}

struct Open {
    span: Span,
    place: &'static Place,
}

/// Whose child something is.
enum Parent {
    /// That of the span which its thread is in.
    Current,
    /// Of this one, or of none.
    Given(Option<span::Id>),
}

impl LogForwarder {
    /// `wanted` answers at any time how much the image is to log.
    pub fn new(slot: Arc<str>, generation: u64, wanted: impl Fn() -> LogLevel + Send + Sync + 'static) -> Self {
        Self {
            slot,
            generation,
            wanted: Box::new(wanted),
            places: RwLock::default(),
            spans: Mutex::default(),
            last_span: AtomicU64::new(0),
        }
    }

    pub(super) fn wanted_level(&self) -> LogLevel {
        (self.wanted)()
    }

    /// Tells of an event, or of a new span: then the answer is its number, or 0 if nobody wants it.
    pub(super) fn record(&self, record: &LogRecord<'_>) -> u64 {
        let Some(_telling) = Telling::begin() else { return 0 };
        let place = self.place(record);
        if !place.is_wanted() {
            return 0;
        }
        match record.kind {
            LogKind::Span => self.open(place, record),
            LogKind::Event | LogKind::Log => {
                self.event(place, record);
                0
            }
        }
    }

    fn event(&self, place: &'static Place, record: &LogRecord<'_>) {
        values::with(place, record.into(), Some(self.speaker()), |values| {
            let event = match self.parent(record.parent) {
                Parent::Current => Event::new(place.metadata, values),
                Parent::Given(id) => Event::new_child_of(id, place.metadata, values),
            };
            get_default(|dispatch| dispatch.event(&event));
        });
    }

    fn open(&self, place: &'static Place, record: &LogRecord<'_>) -> u64 {
        let span = values::with(place, record.into(), Some(self.speaker()), |values| {
            match self.parent(record.parent) {
                Parent::Current => Span::new(place.metadata, values),
                Parent::Given(None) => Span::new_root(place.metadata, values),
                Parent::Given(id) => Span::child_of(id, place.metadata, values),
            }
        });
        let number = self.last_span.fetch_add(1, Ordering::Relaxed) + 1;
        let span = Arc::new(Open { span, place });
        self.spans.lock().insert(number, Kept { span, handles: 1 });
        number
    }

    /// Does something with a span. The answer counts for `Close` only: whether it was the last handle.
    pub(super) fn span(&self, number: u64, deed: SpanDeed, other: u64, given: &[LogValue<'_>]) -> bool {
        // Also inside the subscriber: what was begun is to come to its end. Only what is new is dropped there.
        let _telling = Telling::begin();
        match deed {
            SpanDeed::Clone => {
                if let Some(kept) = self.spans.lock().get_mut(&number) {
                    kept.handles += 1;
                }
                return false;
            }
            SpanDeed::Close => {
                let mut spans = self.spans.lock();
                let Some(kept) = spans.get_mut(&number) else { return false };
                kept.handles = kept.handles.saturating_sub(1);
                let closed = (kept.handles == 0).then(|| spans.remove(&number));
                drop(spans);
                return closed.is_some();
            }
            SpanDeed::Enter | SpanDeed::Exit | SpanDeed::Record | SpanDeed::Follows => {}
        }
        let Some(open) = self.open_span(number) else { return false };
        open.span.with_subscriber(|(id, dispatch)| match deed {
            SpanDeed::Enter => dispatch.enter(id),
            SpanDeed::Exit => dispatch.exit(id),
            SpanDeed::Record => values::with(open.place, given.into(), None, |values| {
                dispatch.record(id, &span::Record::new(values));
            }),
            SpanDeed::Follows => {
                if let Some(follows) = self.open_span(other).and_then(|other| other.span.id()) {
                    dispatch.record_follows_from(id, &follows);
                }
            }
            SpanDeed::Clone | SpanDeed::Close => {}
        });
        false
    }

    /// The image is closed: the spans that it has left open end here.
    pub(super) fn close_spans(&self) {
        let left: Vec<_> = self.spans.lock().drain().collect();
        for (_, kept) in left {
            // That is the subscriber's code, on the reaper's thread.
            let _ = contain(|| drop(kept));
        }
    }

    fn open_span(&self, number: u64) -> Option<Arc<Open>> {
        self.spans.lock().get(&number).map(|kept| kept.span.clone())
    }

    fn parent(&self, parent: u64) -> Parent {
        match parent {
            0 => Parent::Current,
            NO_PARENT => Parent::Given(None),
            number => match self.open_span(number) {
                Some(open) => Parent::Given(open.span.id()),
                None => Parent::Current,
            },
        }
    }

    fn place(&self, record: &LogRecord<'_>) -> &'static Place {
        if record.place == 0 {
            return places::of(record);
        }
        if let Some(place) = self.places.read().get(&record.place) {
            return place;
        }
        let place = places::of(record);
        self.places.write().insert(record.place, place);
        place
    }

    fn speaker(&self) -> (&str, u64) {
        (&self.slot, self.generation)
    }
}

thread_local! {
    /// Without a destructor, so that it is there until the very end, also for plugin code that the thread's own end runs.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread tells the subscriber of something, until dropped.
struct Telling;

impl Telling {
    /// None if it does already.
    fn begin() -> Option<Self> {
        (!TELLING.replace(true)).then_some(Self)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(false);
    }
}
