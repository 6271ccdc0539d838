//! Records of the child on their way to the host's subscriber: one line of JSON each, through a pipe.

use crate::task::Panic;
use reslot_engine::LogLevel;
use serde::{Deserialize, Serialize};
use std::{
    fmt::{Debug, Write as _},
    fs::File,
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// The longest record, in bytes. The rest is cut.
const LONGEST: usize = 64 << 10;

/// What comes through the pipe.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Frame {
    Record(Record),
    /// A panic on a thread of the plugin, which no caller sees.
    ThreadPanic(Panic),
}

/// An event that the plugin has logged.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// 1 is an error, 5 is a trace.
    level: u8,
    target: String,
    message: String,
}

impl Record {
    /// Passes it to the host's subscriber.
    pub(crate) fn emit(&self, slot: &str, generation: u64) {
        let (origin, message) = (&*self.target, &*self.message);
        match self.level {
            1 => tracing::error!(slot, generation, origin, "{message}"),
            2 => tracing::warn!(slot, generation, origin, "{message}"),
            3 => tracing::info!(slot, generation, origin, "{message}"),
            4 => tracing::debug!(slot, generation, origin, "{message}"),
            _ => tracing::trace!(slot, generation, origin, "{message}"),
        }
    }
}

/// Writes one line. If the host is gone, this process ends anyway.
pub(crate) fn send(pipe: &mut File, frame: &Frame) {
    let mut line = serde_json::to_vec(frame).unwrap_or_default();
    line.push(b'\n');
    let _ = pipe.write_all(&line);
}

/// The child's subscriber.
pub(crate) struct ToHost {
    pipe: Mutex<File>,
    level: Arc<AtomicU32>,
}

/// The level that the host has asked for last.
pub(crate) struct Level(Arc<AtomicU32>);

impl ToHost {
    /// Makes it the subscriber of this process.
    pub(crate) fn install(pipe: File, level: u32) -> Level {
        let level = Arc::new(AtomicU32::new(level));
        let subscriber = Self {
            pipe: Mutex::new(pipe),
            level: level.clone(),
        };
        // Nobody else sets one in this program.
        let _ = tracing::subscriber::set_global_default(subscriber);
        Level(level)
    }
}

impl Level {
    /// Uses this level from now on, and returns whether it is another one.
    pub(crate) fn refresh(&self, level: u32) -> bool {
        let changes = self.0.swap(level, Ordering::Relaxed) != level;
        if changes {
            tracing::callsite::rebuild_interest_cache();
        }
        changes
    }
}

impl Subscriber for ToHost {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        LogLevel::from(LevelFilter::from_level(*metadata.level())) as u32 <= self.level.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // Spans do not cross.
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let mut message = text.message + &text.fields;
        if message.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| message.is_char_boundary(*end));
            message.truncate(end.unwrap_or_default());
        }
        let record = Record {
            level: LogLevel::from(LevelFilter::from_level(*event.metadata().level())) as u8,
            target: event.metadata().target().to_owned(),
            message,
        };
        if let Ok(mut pipe) = self.pipe.lock() {
            send(&mut pipe, &Frame::Record(record));
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// The message of an event, and its other fields as text.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
