//! The places in plugins' code from which something was logged, as the host's own: `tracing` hands out pointers to them that are
//! good for ever, so they are made once for each content, and stay. The next image that speaks from the same line finds them, and
//! there is room for so many; whatever comes later shares one place for each level, which tells the rest as fields.

use parking_lot::Mutex;
use reslot_plugin_api::__private::{LogKind, LogRecord};
use reslot_process::PerProcess;
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

/// How many places of `tracing` there may be in this process.
const MOST: usize = 4096;
/// How many of `log`, whose targets may be made up at run time.
const MOST_OF_LOG: usize = 1024;
/// The longest texts that one may have, all together.
const LONGEST: usize = 4096;

/// A place as a subscriber knows it.
pub(super) struct Place {
    pub(super) metadata: &'static Metadata<'static>,
    site: &'static DefaultCallsite,
    /// The plugin's, and then the slot and the generation.
    pub(super) fields: Vec<Field>,
    /// There was no room for it: its fields are `message`, `fields` and `target`.
    pub(super) is_shared: bool,
}

impl Place {
    /// Whether the subscriber wants what comes from here: what tracing's own macros ask. The first time it is told of the place.
    pub(super) fn is_wanted(&self) -> bool {
        if *self.metadata.level() > LevelFilter::current() {
            return false;
        }
        let interest = self.site.interest();
        !interest.is_never() && (interest.is_always() || get_default(|dispatch| dispatch.enabled(self.metadata)))
    }
}

/// What makes a place the same.
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
struct Places {
    known: HashMap<Content<'static>, &'static Place>,
    of_tracing: usize,
    /// Those of `tracing` that came when there were too many.
    without_lines: usize,
    of_log: usize,
}

static PLACES: PerProcess<Mutex<Places>> = PerProcess::new(Mutex::default);

/// The place that a record comes from.
pub(super) fn of(record: &LogRecord<'_>) -> &'static Place {
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
    let mut places = PLACES.get().lock();
    places.of(&content)
}

impl Places {
    fn of<'a>(&mut self, content: &Content<'a>) -> &'static Place {
        let known: &HashMap<Content<'a>, &'static Place> = &self.known;
        if let Some(place) = known.get(content) {
            return place;
        }
        let (count, most) = match content.kind {
            LogKind::Event | LogKind::Span => (&mut self.of_tracing, MOST),
            LogKind::Log => (&mut self.of_log, MOST_OF_LOG),
        };
        if *count < most && content.len() <= LONGEST {
            *count += 1;
            return self.keep(content.leak(), false);
        }
        // Edits move lines, so with time every place is a new one. What subscribers filter by is given up last.
        let anywhere = Content {
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
        if let Some(place) = known.get(&anywhere) {
            return place;
        }
        if content.kind != LogKind::Log && self.without_lines < MOST && content.len() <= LONGEST {
            self.without_lines += 1;
            return self.keep(anywhere.leak(), false);
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
            Some(place) => place,
            None => self.keep(shared, true),
        }
    }

    fn keep(&mut self, content: Content<'static>, is_shared: bool) -> &'static Place {
        let place: &'static Place = Box::leak(Box::new(make(&content, is_shared)));
        self.known.insert(content, place);
        place
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

/// What a place's metadata name as their call site, by which subscribers compare them. The one that is registered, and caches
/// what they want, has to be made after the metadata, which it holds, and so cannot be named in them.
struct Name(OnceLock<&'static Metadata<'static>>);

impl Callsite for Name {
    /// Of a call site that is not registered nobody sets it.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        // Set before anybody gets to see it.
        self.0.get().copied().unwrap_or(&UNNAMED)
    }
}

static UNNAMED_SITE: Name = Name(OnceLock::new());
static UNNAMED: Metadata<'static> = Metadata::new(
    "plugin",
    "plugin",
    Level::TRACE,
    None,
    None,
    None,
    FieldSet::new(&[], Identifier(&UNNAMED_SITE)),
    Kind::EVENT,
);

fn make(content: &Content<'static>, is_shared: bool) -> Place {
    // A plugin's own fields of these names stay its own, under another one.
    let names = content.fields.iter().map(|name| match *name {
        "slot" => "plugin.slot",
        "generation" => "plugin.generation",
        name => name,
    });
    let names: &'static [&'static str] = Vec::leak(names.chain(["slot", "generation"]).collect());
    let name: &'static Name = Box::leak(Box::new(Name(OnceLock::new())));
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
        FieldSet::new(names, Identifier(name)),
        match content.kind {
            LogKind::Span => Kind::SPAN,
            LogKind::Event | LogKind::Log => Kind::EVENT,
        },
    )));
    let _ = name.0.set(metadata);
    Place {
        metadata,
        site: Box::leak(Box::new(DefaultCallsite::new(metadata))),
        fields: metadata.fields().iter().collect(),
        is_shared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_outlives_the_lines() {
        let mut places = Places::default();
        let mut place = |target, line| {
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
            places.of(&content).metadata
        };
        for line in 1..=MOST as u32 {
            assert_eq!(place("momentum", line).line(), Some(line));
        }
        let late = place("momentum", 1_000_000);
        assert_eq!((late.target(), late.line()), ("momentum", None));
        assert!(std::ptr::eq(late, place("momentum", 1_000_001)));
        assert_eq!(place("risk", 1_000_000).target(), "risk");
        assert_eq!(place("momentum", 7).line(), Some(7));
    }
}
