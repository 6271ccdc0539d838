//! The module's `tracing` subscriber and `log` logger, which send records to the host. Spans are not sent.

use super::host;
use std::{
    fmt::{Debug, Write},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicU8, Ordering::Relaxed},
    },
};
use tracing_core::{
    Dispatch, Event, Field, Interest, Level, LevelFilter, Metadata, Subscriber, callsite, dispatcher,
    field::Visit,
    span::{Attributes, Id, Record},
};

/// 0 is none, 1 errors, 5 everything.
static LEVEL: AtomicU8 = AtomicU8::new(0);
/// Whether our subscriber is the global one.
static TRACING: AtomicBool = AtomicBool::new(false);
/// Whether our logger is the global one.
static LOG: AtomicBool = AtomicBool::new(false);

/// Sends records up to this level from now on.
pub(super) fn set_level(level: u8) {
    static INSTALLED: Once = Once::new();
    LEVEL.store(level, Relaxed);
    if level > 0 {
        INSTALLED.call_once(|| {
            TRACING.store(dispatcher::set_global_default(Dispatch::new(ToHost)).is_ok(), Relaxed);
            LOG.store(log::set_logger(&ToHost).is_ok(), Relaxed);
        });
    }
    if TRACING.load(Relaxed) {
        callsite::rebuild_interest_cache();
    }
    if LOG.load(Relaxed) {
        log::set_max_level(match level {
            0 => log::LevelFilter::Off,
            1 => log::LevelFilter::Error,
            2 => log::LevelFilter::Warn,
            3 => log::LevelFilter::Info,
            4 => log::LevelFilter::Debug,
            _ => log::LevelFilter::Trace,
        });
    }
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

struct ToHost;

impl Subscriber for ToHost {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && number(*metadata.level()) <= LEVEL.load(Relaxed)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        host::log(number(*event.metadata().level()), event.metadata().target(), &words.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and the other fields after it.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl log::Log for ToHost {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() as u8 <= LEVEL.load(Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if log::Log::enabled(self, record.metadata()) {
            host::log(record.level() as u8, record.target(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}
