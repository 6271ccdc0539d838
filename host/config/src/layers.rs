//! The layers and how they are merged, which is the `config` crate's work: defaults, then files, then the environment, the later one
//! wins, key by key. Reading a file is as careful as reading an artifact: the whole file or nothing.

use crate::error::{ConfigError, Origin};
use config::{Config, Environment, FileFormat, Format, Map, Source, Value};
use reslot_runtime::{artifact::StageError, surface::read_file};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// How large a file of settings may be.
const MOST: u64 = 16 << 20;
/// How many parts a key may have. Each is a table inside of another, and what merges them calls itself for each.
const MOST_PARTS: usize = 64;
/// What stands between the parts of a variable's name.
const SEPARATOR: &str = "__";
const DEFAULTS: &str = "the defaults";
const ENVIRONMENT: &str = "the environment";

/// Where settings come from: defaults, any number of files, the environment. What comes later wins, key by key; lists are replaced as
/// a whole.
///
/// A variable `PREFIX__PLUGINS__MOMENTUM__THRESHOLD` is the key `plugins.momentum.threshold`: two underscores stand between the parts,
/// and upper case is taken for lower case. `true`, `5` and `0.1` are taken for what they look like.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    defaults: Vec<Map<String, Value>>,
    files: Vec<Layer>,
    environment: Option<(String, Option<Map<String, String>>)>,
}

#[derive(Debug, Clone)]
struct Layer {
    path: PathBuf,
    required: bool,
}

/// What was read, merged, and what of it was there.
pub(crate) struct Merged {
    pub(crate) config: Config,
    /// To tell whether something has changed.
    pub(crate) tree: serde_json::Value,
    /// The files that were there.
    pub(crate) there: Vec<PathBuf>,
}

impl Layers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What holds where nothing else is said. More than one are merged, the later one wins.
    ///
    /// # Errors
    /// If it cannot be encoded, or is no struct or map.
    pub fn defaults<T: Serialize>(mut self, values: &T) -> Result<Self, ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid {
            reason: format!("the defaults cannot be used: {reason}"),
        };
        let text = serde_json::to_string(values).map_err(|error| invalid(error.to_string()))?;
        let uri = DEFAULTS.to_owned();
        let map = FileFormat::Json
            .parse(Some(&uri), &text)
            .map_err(|error| invalid(error.to_string()))?;
        self.defaults.push(map);
        Ok(self)
    }

    /// A file, `.toml` or `.json`, which may be missing.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        let (path, required) = (absolute(path.into()), false);
        self.files.push(Layer { path, required });
        self
    }

    /// A file that must be there.
    #[must_use]
    pub fn required_file(mut self, path: impl Into<PathBuf>) -> Self {
        let (path, required) = (absolute(path.into()), true);
        self.files.push(Layer { path, required });
        self
    }

    /// The process's environment: the variables that begin with the prefix and two underscores.
    #[must_use]
    pub fn environment(mut self, prefix: &str) -> Self {
        self.environment = Some((prefix.to_owned(), None));
        self
    }

    /// These variables in place of the process's.
    #[must_use]
    pub fn variables<K: Into<String>, V: Into<String>>(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.environment = Some((prefix.to_owned(), Some(variables.collect())));
        self
    }

    /// The files, whether they are there or not.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|layer| &*layer.path)
    }

    /// Reads and merges all layers, once.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or what comes of it does not fit the type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let merged = self.merge(&[])?;
        self.fit(&merged)
    }

    /// Merges all layers. Files of `before` must be there: one that is just being replaced is not to look like one that is not wanted.
    pub(crate) fn merge(&self, before: &[PathBuf]) -> Result<Merged, ConfigError> {
        let mut builder = Config::builder();
        for defaults in &self.defaults {
            builder = builder.add_source(Parsed(defaults.clone()));
        }
        let mut there = Vec::new();
        for Layer { path, required } in &self.files {
            match parse(path) {
                Ok(Some(map)) => {
                    check_keys(&map, || Origin::File(path.clone()))?;
                    there.push(path.clone());
                    builder = builder.add_source(Parsed(map));
                }
                Ok(None) if *required || before.contains(path) => return Err(ConfigError::Missing { file: path.clone() }),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some((prefix, variables)) = &self.environment {
            let environment = Environment::with_prefix(prefix)
                .prefix_separator(SEPARATOR)
                .separator(SEPARATOR)
                .try_parsing(true)
                .source(variables.clone());
            let map = environment.collect().map_err(|error| self.wrong(error))?;
            check_keys(&map, || Origin::Environment)?;
            builder = builder.add_source(Parsed(map));
        }
        let config = builder.build().map_err(|error| self.wrong(error))?;
        let tree = config.clone().try_deserialize().map_err(|error| self.wrong(error))?;
        Ok(Merged { config, tree, there })
    }

    /// What was read as a value of the type.
    pub(crate) fn fit<T: DeserializeOwned>(&self, merged: &Merged) -> Result<T, ConfigError> {
        merged.config.clone().try_deserialize().map_err(|error| self.wrong(error))
    }

    /// Says where something wrong stands.
    fn wrong(&self, error: config::ConfigError) -> ConfigError {
        let (mut origin, mut key, reason) = taken_apart(error);
        if key.as_deref().is_some_and(str::is_empty) {
            key = None;
        }
        // The crate knows the origin of values, and not of tables with an unknown key in them.
        let mut line = None;
        for layer in self.files.iter().rev() {
            if origin.as_deref().is_some_and(|origin| Path::new(origin) != layer.path) {
                continue;
            }
            let named = key
                .iter()
                .cloned()
                .chain(unknown(&reason).map(|name| join(key.as_deref(), &name)))
                .last();
            line = named.and_then(|key| line_of(&layer.path, &key));
            if line.is_some() {
                origin = Some(layer.path.to_string_lossy().into_owned());
                break;
            }
        }
        ConfigError::Wrong {
            origin: origin.map(|origin| match origin.as_str() {
                DEFAULTS => Origin::Defaults,
                ENVIRONMENT => Origin::Environment,
                file => Origin::File(file.into()),
            }),
            key,
            line,
            reason: with_nearest(reason),
        }
    }
}

/// Refuses a key with too many parts. Only keys of the outermost table are taken apart.
fn check_keys(map: &Map<String, Value>, origin: impl Fn() -> Origin) -> Result<(), ConfigError> {
    let parts = |key: &String| 1 + key.matches(['.', '[']).count();
    match map.keys().find(|key| parts(key) > MOST_PARTS) {
        None => Ok(()),
        Some(key) => Err(ConfigError::Wrong {
            origin: Some(origin()),
            key: None,
            line: None,
            reason: format!(
                "the key that begins with `{}` has more than {MOST_PARTS} parts",
                key.chars().take(40).collect::<String>()
            ),
        }),
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    // The working directory may change; the file is the one of now.
    std::path::absolute(&path).unwrap_or(path)
}

fn join(key: Option<&str>, name: &str) -> String {
    match key {
        Some(key) => format!("{key}.{name}"),
        None => name.to_owned(),
    }
}

/// The key that serde has not expected.
fn unknown(reason: &str) -> Option<String> {
    let (name, _) = reason.split_once("unknown field `")?.1.split_once('`')?;
    Some(name.to_owned())
}

/// Says which of the keys that are known is most like one that is not.
fn with_nearest(reason: String) -> String {
    let Some(name) = unknown(&reason) else { return reason };
    let known = reason.split_once("expected").map_or("", |(_, known)| known);
    let known = known.split('`').skip(1).step_by(2);
    let nearest = known.map(|known| (distance(&name, known), known)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + name.len() / 4 => format!("{reason}; did you mean `{known}`?"),
        _ => reason,
    }
}

/// How many letters have to be put in, taken out or changed.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.chars().count()]
}

/// The innermost origin and key, and what is wrong there.
fn taken_apart(error: config::ConfigError) -> (Option<String>, Option<String>, String) {
    match error {
        config::ConfigError::Type {
            origin,
            unexpected,
            expected,
            key,
        } => (origin, key, format!("there is {unexpected}, and {expected} was expected")),
        config::ConfigError::At { error, origin, key } => {
            let (inner_origin, inner_key, reason) = taken_apart(*error);
            (inner_origin.or(origin), inner_key.or(key), reason)
        }
        config::ConfigError::NotFound(key) => (None, Some(key), "it is missing".to_owned()),
        other => (None, None, other.to_string()),
    }
}

/// The line on which a key stands, if it can be found by reading along: the last of the parts, after all the ones before it.
fn line_of(file: &Path, key: &str) -> Option<usize> {
    let text = fs::read_to_string(file).ok()?;
    let mut parts = key.split(['.', '[']).filter(|part| !part.is_empty() && !part.ends_with(']'));
    let mut wanted = parts.next()?;
    for (at, line) in text.lines().enumerate() {
        // `[plugins.momentum]` and `plugins.momentum.threshold = 1` have several on one line.
        let before_value = line.split(['=', ':', '#']).next().unwrap_or_default();
        let names = before_value.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
        for name in names {
            if name == wanted {
                match parts.next() {
                    Some(next) => wanted = next,
                    None => return Some(at + 1),
                }
            }
        }
    }
    None
}

/// Reads and parses a file; none if it is not there.
fn parse(path: &Path) -> Result<Option<Map<String, Value>>, ConfigError> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("json") => FileFormat::Json,
        _ => return Err(ConfigError::Format { file: path.to_owned() }),
    };
    let bytes = match read_file(path, MOST) {
        Ok(bytes) => bytes,
        Err(StageError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ConfigError::unreadable(path, &error)),
    };
    let syntax = |line, reason| ConfigError::Syntax {
        file: path.to_owned(),
        line,
        reason,
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let lines = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n');
        syntax(Some(lines.count() + 1), "it is not UTF-8".to_owned())
    })?;
    let uri = path.to_string_lossy().into_owned();
    let parsed = format.parse(Some(&uri), text);
    parsed.map(Some).map_err(|error| {
        let reason = error.to_string();
        // Both parsers say `at line 3 column 7`.
        let line = reason.split_once("line ").and_then(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        });
        syntax(line, reason.trim_end().to_owned())
    })
}

/// A layer that has been parsed.
#[derive(Debug, Clone)]
struct Parsed(Map<String, Value>);

impl Source for Parsed {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}
