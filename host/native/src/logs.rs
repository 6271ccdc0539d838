//! Forwards an image's log records to the program's subscriber, with the plugin's target, level, fields, file and line, and with its
//! slot and generation. A callsite in the plugin's code gets a copy in the host (`callsites`), because a subscriber may keep a pointer
//! to a callsite for ever. The values of a record are converted by `values`.
//!
//! No lock is held while the subscriber runs. A record that a plugin logs from inside the subscriber is dropped, as `tracing` itself
//! does it: otherwise a subscriber that calls plugins would recurse without end.

mod callsites;
mod values;

use callsites::LogCallsite;
use parking_lot::{Mutex, RwLock};
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
use tracing::{Dispatch, Event, Span, dispatcher::get_default, span};

/// Forwards the events and spans of one image.
pub struct LogForwarder {
    slot: Arc<str>,
    generation: u64,
    wanted: Box<dyn Fn() -> LogLevel + Send + Sync>,
    /// The callsites seen so far, by their addresses in the image, which are unique while the image is mapped.
    callsites: RwLock<HashMap<usize, &'static LogCallsite>>,
    spans: Mutex<HashMap<u64, ImageSpan>>,
    last_span: AtomicU64,
}

/// A span of an image, and the number of handles that the image has on it.
struct ImageSpan {
    span: Arc<OpenSpan>,
    handles: u64,
}

struct OpenSpan {
    span: Span,
    callsite: &'static LogCallsite,
}

/// The parent of an event or a span.
enum Parent {
    /// The thread's current span.
    Current,
    /// This span, or none.
    Explicit(Option<span::Id>),
}

impl LogForwarder {
    /// `wanted` returns the current log level of the image.
    pub fn new(slot: Arc<str>, generation: u64, wanted: impl Fn() -> LogLevel + Send + Sync + 'static) -> Self {
        Self {
            slot,
            generation,
            wanted: Box::new(wanted),
            callsites: RwLock::default(),
            spans: Mutex::default(),
            last_span: AtomicU64::new(0),
        }
    }

    pub(super) fn wanted_level(&self) -> LogLevel {
        (self.wanted)()
    }

    /// Forwards an event, or opens a span. For a span that the subscriber wants the answer is its number, otherwise 0.
    pub(super) fn record(&self, record: &LogRecord<'_>) -> u64 {
        let Some(_in_subscriber) = InSubscriber::enter() else {
            return 0;
        };
        let callsite = self.callsite(record);
        if !callsite.is_wanted() {
            return 0;
        }
        match record.kind {
            LogKind::Span => self.open(callsite, record),
            LogKind::Event | LogKind::Log => {
                self.event(callsite, record);
                0
            }
        }
    }

    fn event(&self, callsite: &'static LogCallsite, record: &LogRecord<'_>) {
        values::with(callsite, record.into(), Some(self.origin()), |values| {
            let event = match self.parent(record.parent) {
                Parent::Current => Event::new(callsite.metadata, values),
                Parent::Explicit(id) => Event::new_child_of(id, callsite.metadata, values),
            };
            get_default(|dispatch| dispatch.event(&event));
        });
    }

    fn open(&self, callsite: &'static LogCallsite, record: &LogRecord<'_>) -> u64 {
        let span = values::with(callsite, record.into(), Some(self.origin()), |values| {
            match self.parent(record.parent) {
                Parent::Current => Span::new(callsite.metadata, values),
                Parent::Explicit(None) => Span::new_root(callsite.metadata, values),
                Parent::Explicit(id) => Span::child_of(id, callsite.metadata, values),
            }
        });
        let number = self.last_span.fetch_add(1, Ordering::Relaxed) + 1;
        let span = Arc::new(OpenSpan { span, callsite });
        self.spans.lock().insert(number, ImageSpan { span, handles: 1 });
        number
    }

    /// Does `deed` with a span. Returns whether that has closed the span.
    pub(super) fn span(&self, number: u64, deed: SpanDeed, other: u64, values: &[LogValue<'_>]) -> bool {
        // Also inside the subscriber: a span that is open must be closed. Only new events and spans are dropped there.
        let _in_subscriber = InSubscriber::enter();
        match deed {
            SpanDeed::Close => return self.close_handle(number),
            SpanDeed::Clone => self.clone_handle(number),
            SpanDeed::Enter => self.with_span(number, |_, id, dispatch| dispatch.enter(id)),
            SpanDeed::Exit => self.with_span(number, |_, id, dispatch| dispatch.exit(id)),
            SpanDeed::Record => self.with_span(number, |callsite, id, dispatch| {
                values::with(callsite, values.into(), None, |values| {
                    dispatch.record(id, &span::Record::new(values));
                });
            }),
            SpanDeed::Follows => self.with_span(number, |_, id, dispatch| {
                if let Some(follows) = self.open_span(other).and_then(|other| other.span.id()) {
                    dispatch.record_follows_from(id, &follows);
                }
            }),
        }
        false
    }

    fn with_span(&self, number: u64, then: impl FnOnce(&'static LogCallsite, &span::Id, &Dispatch)) {
        if let Some(open) = self.open_span(number) {
            open.span.with_subscriber(|(id, dispatch)| then(open.callsite, id, dispatch));
        }
    }

    fn clone_handle(&self, number: u64) {
        if let Some(span) = self.spans.lock().get_mut(&number) {
            span.handles += 1;
        }
    }

    /// Closes one handle, and the span with its last handle. Returns whether it was the last.
    fn close_handle(&self, number: u64) -> bool {
        let mut spans = self.spans.lock();
        let Some(span) = spans.get_mut(&number) else { return false };
        span.handles = span.handles.saturating_sub(1);
        let closed = (span.handles == 0).then(|| spans.remove(&number));
        // The subscriber runs when `closed` is dropped.
        drop(spans);
        closed.is_some()
    }

    /// Closes the spans that the image has left open. To be called when the image is closed.
    pub(super) fn close_spans(&self) {
        let left: Vec<_> = self.spans.lock().drain().collect();
        for (_, span) in left {
            // This runs the subscriber's code on the reaper's thread, which must survive a panic in it.
            let _ = contain(|| drop(span));
        }
    }

    fn open_span(&self, number: u64) -> Option<Arc<OpenSpan>> {
        self.spans.lock().get(&number).map(|span| span.span.clone())
    }

    fn parent(&self, parent: u64) -> Parent {
        match parent {
            0 => Parent::Current,
            NO_PARENT => Parent::Explicit(None),
            number => match self.open_span(number) {
                Some(open) => Parent::Explicit(open.span.id()),
                None => Parent::Current,
            },
        }
    }

    fn callsite(&self, record: &LogRecord<'_>) -> &'static LogCallsite {
        if record.place == 0 {
            return callsites::of(record);
        }
        if let Some(callsite) = self.callsites.read().get(&record.place) {
            return callsite;
        }
        let callsite = callsites::of(record);
        self.callsites.write().insert(record.place, callsite);
        callsite
    }

    /// The slot and the generation, which are fields of each event and span.
    fn origin(&self) -> (&str, u64) {
        (&self.slot, self.generation)
    }
}

thread_local! {
    /// It has no destructor, so it can be used until the thread is gone, also by plugin code that runs at the thread's end.
    static IN_SUBSCRIBER: Cell<bool> = const { Cell::new(false) };
}

/// Marks that the calling thread is inside the subscriber, until this is dropped.
struct InSubscriber;

impl InSubscriber {
    /// None if the thread is inside the subscriber already.
    fn enter() -> Option<Self> {
        (!IN_SUBSCRIBER.replace(true)).then_some(Self)
    }
}

impl Drop for InSubscriber {
    fn drop(&mut self) {
        IN_SUBSCRIBER.set(false);
    }
}
