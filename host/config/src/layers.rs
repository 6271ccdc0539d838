//! Layers of settings, merged by the `config` crate: defaults, then files, then the environment. A later layer overrides an
//! earlier one, key by key. A file is read like an artifact: completely or not at all.

use crate::error::{ConfigError, Origin};
use config::{Config, Environment, FileFormat, Format, Map, Source, Value};
use reslot_runtime::{artifact::StageError, surface::read_file};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The largest file of settings.
const MOST: u64 = 16 << 20;
/// The highest number of parts of a key. Each part is a nested table, and the merging code is recursive.
const MOST_PARTS: usize = 64;
/// The highest number of digits of an index in a key. The merging code makes a list of that length, so `list[99999999]` would take
/// the memory of the machine.
const MOST_DIGITS: usize = 4;
/// The separator between the parts of a variable's name.
const SEPARATOR: &str = "__";
const DEFAULTS: &str = "the defaults";
const ENVIRONMENT: &str = "the environment";

/// The sources of settings: defaults, any number of files, the environment. A later layer overrides an earlier one, key by
/// key; lists are replaced as a whole.
///
/// A variable `PREFIX__PLUGINS__MOMENTUM__THRESHOLD` is the key `plugins.momentum.threshold`: two underscores separate the
/// parts, and upper case becomes lower case. `true`, `5` and `0.1` become a boolean and numbers.
///
/// ```
/// use reslot::config::{ConfigError, Layers};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Settings {
///     port: u16,
///     workers: u16,
/// }
///
/// let layers = Layers::new()
///     .defaults(&Settings { port: 80, workers: 4 })?
///     .file("desk.toml") // it may be missing
///     .variables("DESK", [("DESK__PORT", "8080")]); // in place of `environment("DESK")`
/// let settings: Settings = layers.read()?;
/// assert_eq!((settings.port, settings.workers), (8080, 4));
/// # Ok::<(), ConfigError>(())
/// ```
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

/// The merged settings, and the files that existed.
pub(crate) struct Merged {
    pub(crate) config: Config,
    /// Used to detect changes.
    pub(crate) tree: serde_json::Value,
    /// The files that existed.
    pub(crate) there: Vec<PathBuf>,
}

impl Layers {
    /// Layers without a source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds defaults. Several calls are merged, and a later one overrides an earlier one.
    ///
    /// # Errors
    /// If the values cannot be encoded, or are not a struct or map.
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

    /// Adds a file, `.toml` or `.json`, which may be missing.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        let (path, required) = (absolute(path.into()), false);
        self.files.push(Layer { path, required });
        self
    }

    /// Adds a file that must exist.
    #[must_use]
    pub fn required_file(mut self, path: impl Into<PathBuf>) -> Self {
        let (path, required) = (absolute(path.into()), true);
        self.files.push(Layer { path, required });
        self
    }

    /// Adds the process's environment: the variables that begin with the prefix and two underscores.
    #[must_use]
    pub fn environment(mut self, prefix: &str) -> Self {
        self.environment = Some((prefix.to_owned(), None));
        self
    }

    /// Adds these variables instead of the process's environment.
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

    /// All files, existing or not.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|layer| &*layer.path)
    }

    /// Reads and merges all layers, once.
    ///
    /// # Errors
    /// If a file cannot be read or parsed, or the settings do not fit the type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let merged = self.merge(&[])?;
        self.fit(&merged)
    }

    /// Merges all layers. Files of `before` must exist, because a file that is just being replaced must not look like a
    /// removed one.
    pub(crate) fn merge(&self, before: &[PathBuf]) -> Result<Merged, ConfigError> {
        let mut builder = Config::builder();
        for defaults in &self.defaults {
            check_keys(defaults, || Origin::Defaults)?;
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

    /// Converts the merged settings into the type.
    pub(crate) fn fit<T: DeserializeOwned>(&self, merged: &Merged) -> Result<T, ConfigError> {
        merged.config.clone().try_deserialize().map_err(|error| self.wrong(error))
    }

    /// Adds the place to an error.
    fn wrong(&self, error: config::ConfigError) -> ConfigError {
        let (mut origin, mut key, reason) = taken_apart(error);
        if key.as_deref().is_some_and(str::is_empty) {
            key = None;
        }
        // The crate knows the origin of values, but not of tables with an unknown key.
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

/// Refuses a key with too many parts or with a large index. Only keys of the outermost table are split into parts.
fn check_keys(map: &Map<String, Value>, origin: impl Fn() -> Origin) -> Result<(), ConfigError> {
    let parts = |key: &str| 1 + key.matches(['.', '[']).count();
    let is_large = |key: &str| {
        let digits = |index: &str| {
            let index = index.trim_start().trim_start_matches(['-', '+']).trim_start_matches('0');
            index.chars().take_while(char::is_ascii_digit).count()
        };
        key.split('[').skip(1).any(|index| digits(index) > MOST_DIGITS)
    };
    let reason = |key: &String| {
        let begins = key.chars().take(40).collect::<String>();
        if parts(key) > MOST_PARTS {
            Some(format!(
                "the key that begins with `{begins}` has more than {MOST_PARTS} parts"
            ))
        } else if is_large(key) {
            Some(format!(
                "the key that begins with `{begins}` has an index of more than {MOST_DIGITS} digits"
            ))
        } else {
            None
        }
    };
    match map.keys().find_map(reason) {
        None => Ok(()),
        Some(reason) => Err(ConfigError::Wrong {
            origin: Some(origin()),
            key: None,
            line: None,
            reason,
        }),
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    // The path is made absolute, because the working directory may change.
    std::path::absolute(&path).unwrap_or(path)
}

fn join(key: Option<&str>, name: &str) -> String {
    match key {
        Some(key) => format!("{key}.{name}"),
        None => name.to_owned(),
    }
}

/// The key that serde did not expect.
fn unknown(reason: &str) -> Option<String> {
    let (name, _) = reason.split_once("unknown field `")?.1.split_once('`')?;
    Some(name.to_owned())
}

/// Adds the known key that is most similar to an unknown one.
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

/// The edit distance of two words.
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

/// The innermost origin and key, and the error there.
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

/// The line of a key, if a simple search finds it: the line of the last part, after the lines of all earlier parts.
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

/// Reads and parses a file; none if it does not exist.
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

/// A parsed layer.
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
