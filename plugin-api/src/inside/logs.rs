//! The image's global `tracing` subscriber and `log` logger, which forward the plugin's records to the host. Those crates'
//! own check, a load and a compare, stops records above the image's level before they are built. `values` formats the
//! values.
//!
//! They are installed when the host first sets a level. So in a test program, and in a host without a subscriber, a plugin
//! may have its own; a subscriber that it has set before stays.

mod values;

use super::memory;
use crate::{
    attachment::Services,
    root::{LogKind, LogRecord, LogValue, NO_PARENT, SpanDeed},
    text::cut,
};
use abi_stable::std_types::RStr;
use std::sync::{
    Once,
    atomic::{AtomicBool, AtomicU8, Ordering::SeqCst},
};
use tracing_core::{
    Dispatch, Event, Interest, Level, LevelFilter, Metadata, Subscriber, callsite, dispatcher,
    span::{Attributes, Id, Record},
};
use values::Values;

/// The highest number of fields of an event or a span that cross. tracing's own macros allowed 32 for years.
const MOST_FIELDS: usize = 46;

/// A span that the host does not want: nothing of it crosses.
const UNWANTED: u64 = u64::MAX - 1;

/// 0 is none, 1 errors, 5 everything. Each image has its own copy of this static.
static LEVEL: AtomicU8 = AtomicU8::new(0);
/// Whether our subscriber is the image's global one.
static TRACING: AtomicBool = AtomicBool::new(false);
/// Whether our logger is the image's global one.
static LOG: AtomicBool = AtomicBool::new(false);

/// Forwards records up to this level from now on. If two threads call this at once, one of the two levels remains, and the
/// caller checks again which level it must be.
pub(crate) fn set_level(level: u8) {
    static INSTALLED: Once = Once::new();
    LEVEL.store(level, SeqCst);
    if level > 0 && can_log() {
        // `tracing` never frees its subscriber.
        INSTALLED.call_once(|| memory::in_the_image(install));
    }
    if TRACING.load(SeqCst) {
        callsite::rebuild_interest_cache();
    }
    if LOG.load(SeqCst) {
        log::set_max_level(match LEVEL.load(SeqCst) {
            0 => log::LevelFilter::Off,
            1 => log::LevelFilter::Error,
            2 => log::LevelFilter::Warn,
            3 => log::LevelFilter::Info,
            4 => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        });
    }
}

/// An older host has no functions for it.
fn can_log() -> bool {
    super::host().is_some_and(|Services { table, .. }| table.log_record().is_some() && table.log_span().is_some())
}

fn install() {
    // If the plugin has its own subscriber, `Dispatch::new` asks it for its filters before it is known that ours cannot be
    // installed. This is harmless.
    let ours = dispatcher::set_global_default(Dispatch::new(ToHost)).is_ok();
    TRACING.store(ours, SeqCst);
    LOG.store(log::set_logger(&ToHost).is_ok(), SeqCst);
}

/// The image's subscriber and logger.
struct ToHost;

impl Subscriber for ToHost {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // It must not be `never`: records above the level do not get here, and a callsite that is registered during a change
        // of the level would keep a wrong answer.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(SeqCst) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(*metadata.level()) <= LEVEL.load(SeqCst)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let parent = parent(attributes.is_contextual(), attributes.parent());
        let mut values = Values::default();
        attributes.record(&mut values);
        let answer = send(LogKind::Span, attributes.metadata(), parent, &values);
        Id::from_u64(if answer == 0 { UNWANTED } else { answer })
    }

    fn record(&self, span: &Id, record: &Record<'_>) {
        let mut values = Values::default();
        record.record(&mut values);
        values.lend(|values| span_deed(span, SpanDeed::Record, 0, values));
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        if follows.into_u64() != UNWANTED {
            span_deed(span, SpanDeed::Follows, follows.into_u64(), &[]);
        }
    }

    fn event(&self, event: &Event<'_>) {
        let parent = parent(event.is_contextual(), event.parent());
        let mut values = Values::default();
        event.record(&mut values);
        send(LogKind::Event, event.metadata(), parent, &values);
    }

    fn enter(&self, span: &Id) {
        span_deed(span, SpanDeed::Enter, 0, &[]);
    }

    fn exit(&self, span: &Id) {
        span_deed(span, SpanDeed::Exit, 0, &[]);
    }

    fn clone_span(&self, span: &Id) -> Id {
        span_deed(span, SpanDeed::Clone, 0, &[]);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        span_deed(&span, SpanDeed::Close, 0, &[])
    }
}

impl log::Log for ToHost {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() as u8 <= LEVEL.load(SeqCst)
    }

    fn log(&self, record: &log::Record<'_>) {
        if !log::Log::enabled(self, record.metadata()) {
            return;
        }
        // A target may be built at run time.
        let (target, mut values) = (cut(record.target()), Values::default());
        values.message(record.args());
        let send_values = |values: &[LogValue<'_>]| {
            cross(&LogRecord {
                place: 0,
                kind: LogKind::Log,
                level: record.level() as u8,
                name: "log".into(),
                target: (&*target).into(),
                module: record.module_path().unwrap_or_default().into(),
                file: record.file().unwrap_or_default().into(),
                line: record.line().unwrap_or_default(),
                fields: [RStr::from("message")][..].into(),
                parent: 0,
                values: values.into(),
            })
        };
        values.lend(send_values);
    }

    fn flush(&self) {}
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// The parent as it crosses.
fn parent(is_contextual: bool, given: Option<&Id>) -> u64 {
    match given {
        Some(id) if id.into_u64() == UNWANTED => 0,
        Some(id) => id.into_u64(),
        None if is_contextual => 0,
        None => NO_PARENT,
    }
}

fn send(kind: LogKind, metadata: &'static Metadata<'static>, parent: u64, values: &Values) -> u64 {
    let mut names = [RStr::from(""); MOST_FIELDS];
    let mut count = 0;
    for (room, field) in names.iter_mut().zip(metadata.fields()) {
        *room = field.name().into();
        count += 1;
    }
    values.lend(|values| {
        cross(&LogRecord {
            place: std::ptr::from_ref(metadata).addr(),
            kind,
            level: number(*metadata.level()),
            name: metadata.name().into(),
            target: metadata.target().into(),
            module: metadata.module_path().unwrap_or_default().into(),
            file: metadata.file().unwrap_or_default().into(),
            line: metadata.line().unwrap_or_default(),
            fields: names[..count].into(),
            parent,
            values: values.into(),
        })
    })
}

fn cross(record: &LogRecord<'_>) -> u64 {
    match super::host().map(|Services { table, token }| (table.log_record(), token)) {
        // SAFETY: table and token are the host's own, valid while this image is mapped; the record lives for the call.
        Some((Some(function), token)) => unsafe { function(token, record) },
        _ => 0,
    }
}

fn span_deed(span: &Id, deed: SpanDeed, other: u64, values: &[LogValue<'_>]) -> bool {
    let span = span.into_u64();
    if span == UNWANTED {
        return false;
    }
    match super::host().map(|Services { table, token }| (table.log_span(), token)) {
        // SAFETY: table and token are the host's own, valid while this image is mapped; the values live for the call.
        Some((Some(function), token)) => unsafe { function(token, span, deed as u8, other, values.into()) },
        _ => false,
    }
}
