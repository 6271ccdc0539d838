//! The host's copies of the callsites in plugins' code. Subscribers of `tracing` may keep pointers to a callsite for ever, so one is
//! made for each different content and never freed. The next image that logs from the same line uses the same one. Their number is
//! limited: when the table is full, records with the same kind and level share one callsite, whose fields hold the rest.

use parking_lot::Mutex;
use reslot_plugin_api::__private::{LogKind, LogRecord};
use reslot_system::PerProcess;
use std::{collections::HashMap, sync::OnceLock};
use tracing::{
    Callsite, Level, Metadata,
    callsite::{DefaultCallsite, Identifier},
    dispatcher::get_default,
    field::{Field, FieldSet},
    level_filters::LevelFilter,
    metadata::Kind,
    subscriber::Interest,
};

/// How many callsites of `tracing` there may be in this process.
const MAX_OF_TRACING: usize = 4096;
/// How many callsites of `log` there may be. Its targets may be made at run time.
const MAX_OF_LOG: usize = 1024;
/// How many bytes the texts of one callsite may have in total.
const MAX_TEXT: usize = 4096;

/// A callsite as a subscriber knows it.
pub(super) struct LogCallsite {
    pub(super) metadata: &'static Metadata<'static>,
    registered: &'static DefaultCallsite,
    /// The plugin's fields, and then the slot and the generation.
    pub(super) fields: Vec<Field>,
    /// It is shared by records for which the table had no room: its fields are `message`, `fields` and `target`.
    pub(super) is_shared: bool,
}

impl LogCallsite {
    /// Whether the subscriber wants the records of this callsite; the same questions as in tracing's macros. The first call registers
    /// the callsite.
    pub(super) fn is_wanted(&self) -> bool {
        if *self.metadata.level() > LevelFilter::current() {
            return false;
        }
        let interest = self.registered.interest();
        !interest.is_never() && (interest.is_always() || get_default(|dispatch| dispatch.enabled(self.metadata)))
    }
}

/// The key of the table: two records with equal content share one callsite.
#[derive(PartialEq, Eq, Hash)]
struct Content<'a> {
    kind: LogKind,
    level: u8,
    name: &'a str,
    target: &'a str,
    module: &'a str,
    file: &'a str,
    line: u32,
    fields: Vec<&'a str>,
}

#[derive(Default)]
struct Callsites {
    known: HashMap<Content<'static>, &'static LogCallsite>,
    of_tracing: usize,
    /// How many callsites of `tracing` were made without a line, after `MAX_OF_TRACING` was reached.
    without_lines: usize,
    of_log: usize,
}

static CALLSITES: PerProcess<Mutex<Callsites>> = PerProcess::new(Mutex::default);

/// The callsite of a record.
pub(super) fn of(record: &LogRecord<'_>) -> &'static LogCallsite {
    let content = Content {
        kind: record.kind,
        level: record.level,
        name: record.name.into(),
        target: record.target.into(),
        module: record.module.into(),
        file: record.file.into(),
        line: record.line,
        fields: record.fields.iter().map(|name| name.as_str()).collect(),
    };
    let mut callsites = CALLSITES.get().lock();
    callsites.of(&content)
}

impl Callsites {
    fn of<'a>(&mut self, content: &Content<'a>) -> &'static LogCallsite {
        let known: &HashMap<Content<'a>, &'static LogCallsite> = &self.known;
        if let Some(callsite) = known.get(content) {
            return callsite;
        }
        let (count, max) = match content.kind {
            LogKind::Event | LogKind::Span => (&mut self.of_tracing, MAX_OF_TRACING),
            LogKind::Log => (&mut self.of_log, MAX_OF_LOG),
        };
        if *count < max && content.len() <= MAX_TEXT {
            *count += 1;
            return self.add(content.leak(), false);
        }
        // Each edit of a plugin changes line numbers, so the table fills up. From then on records share one callsite per kind, level,
        // target and fields, by which subscribers filter. Only when these are too many, too, they share one per kind and level.
        let without_line = Content {
            kind: content.kind,
            level: content.level,
            name: if content.kind == LogKind::Span {
                content.name
            } else {
                "event"
            },
            target: content.target,
            module: "",
            file: "",
            line: 0,
            fields: content.fields.clone(),
        };
        if let Some(callsite) = known.get(&without_line) {
            return callsite;
        }
        if content.kind != LogKind::Log && self.without_lines < MAX_OF_TRACING && content.len() <= MAX_TEXT {
            self.without_lines += 1;
            return self.add(without_line.leak(), false);
        }
        let shared = Content {
            kind: content.kind,
            level: content.level,
            name: "plugin",
            target: "plugin",
            module: "",
            file: "",
            line: 0,
            fields: vec!["message", "fields", "target"],
        };
        match self.known.get(&shared) {
            Some(callsite) => callsite,
            None => self.add(shared, true),
        }
    }

    fn add(&mut self, content: Content<'static>, is_shared: bool) -> &'static LogCallsite {
        let callsite: &'static LogCallsite = Box::leak(Box::new(make(&content, is_shared)));
        self.known.insert(content, callsite);
        callsite
    }
}

impl Content<'_> {
    fn len(&self) -> usize {
        let texts = [self.name, self.target, self.module, self.file];
        texts.iter().chain(&self.fields).map(|text| text.len()).sum()
    }

    fn leak(&self) -> Content<'static> {
        Content {
            kind: self.kind,
            level: self.level,
            name: leak(self.name),
            target: leak(self.target),
            module: leak(self.module),
            file: leak(self.file),
            line: self.line,
            fields: self.fields.iter().map(|name| leak(name)).collect(),
        }
    }
}

fn leak(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

/// The identity of the metadata, by which subscribers compare them: metadata must refer to a callsite. It cannot be the registered one,
/// which caches the interest of subscribers: that one contains the metadata, so it does not exist yet when the metadata is made.
struct MetadataIdentity(OnceLock<&'static Metadata<'static>>);

impl Callsite for MetadataIdentity {
    /// It is never called, because this callsite is not registered.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        // `make` sets it before anybody can see the callsite.
        self.0.get().copied().unwrap_or(&UNNAMED)
    }
}

static UNNAMED_IDENTITY: MetadataIdentity = MetadataIdentity(OnceLock::new());
static UNNAMED: Metadata<'static> = Metadata::new(
    "plugin",
    "plugin",
    Level::TRACE,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&UNNAMED_IDENTITY)),
    Kind::EVENT,
);

fn make(content: &Content<'static>, is_shared: bool) -> LogCallsite {
    // The host's fields have these two names, so the plugin's fields with these names are renamed.
    let names = content.fields.iter().map(|name| match *name {
        "slot" => "plugin.slot",
        "generation" => "plugin.generation",
        name => name,
    });
    let names: &'static [&'static str] = Vec::leak(names.chain(["slot", "generation"]).collect());
    let identity: &'static MetadataIdentity = Box::leak(Box::new(MetadataIdentity(OnceLock::new())));
    let metadata: &'static Metadata<'static> = Box::leak(Box::new(Metadata::new(
        content.name,
        content.target,
        match content.level {
            0 | 1 => Level::ERROR,
            2 => Level::WARN,
            3 => Level::INFO,
            4 => Level::DEBUG,
            _ => Level::TRACE,
        },
        Some(content.file).filter(|file| !file.is_empty()),
        Some(content.line).filter(|line| *line > 0),
        Some(content.module).filter(|module| !module.is_empty()),
        FieldSet::new(names, Identifier(identity)),
        match content.kind {
            LogKind::Span => Kind::SPAN,
            LogKind::Event | LogKind::Log => Kind::EVENT,
        },
    )));
    let _ = identity.0.set(metadata);
    LogCallsite {
        metadata,
        registered: Box::leak(Box::new(DefaultCallsite::new(metadata))),
        fields: metadata.fields().iter().collect(),
        is_shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_the_table_is_full_records_lose_their_lines_before_their_target() {
        let mut callsites = Callsites::default();
        let mut metadata = |target, line| {
            let content = Content {
                kind: LogKind::Event,
                level: 3,
                name: "event src/lib.rs",
                target,
                module: "momentum",
                file: "src/lib.rs",
                line,
                fields: vec!["message"],
            };
            callsites.of(&content).metadata
        };
        for line in 1..=MAX_OF_TRACING as u32 {
            assert_eq!(metadata("momentum", line).line(), Some(line));
        }
        let late = metadata("momentum", 1_000_000);
        assert_eq!((late.target(), late.line()), ("momentum", None));
        assert!(std::ptr::eq(late, metadata("momentum", 1_000_001)));
        assert_eq!(metadata("risk", 1_000_000).target(), "risk");
        assert_eq!(metadata("momentum", 7).line(), Some(7));
    }
}
