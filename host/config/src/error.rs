//! Errors of settings. They name the file, the line or the key, and what was expected.

use reslot_runtime::{WatchError, artifact::StageError, surface::thread_remedy};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The defaults of the program.
    Defaults,
    /// A file.
    File(PathBuf),
    /// The environment.
    Environment,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the defaults"),
            Self::File(file) => file.display().fmt(f),
            Self::Environment => f.write_str("the environment"),
        }
    }
}

/// Why settings were refused. The last good ones stay in use.
///
/// ```
/// use reslot::config::{ConfigError, Layers};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Settings {
///     port: u16,
/// }
///
/// let layers = Layers::new().variables("DESK", [("DESK__PORT", "many")]);
/// let error = layers.read::<Settings>().unwrap_err();
/// assert!(matches!(error, ConfigError::Wrong { .. }));
/// assert_eq!((error.key(), error.file()), (Some("port"), None));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that must exist, or existed before, is missing.
    #[error("{}: the file does not exist", .file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file cannot be read completely.
    #[error("{}: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        reason: String,
        /// Whether to try again soon, because a process writes the file.
        transient: bool,
    },
    /// A file's name does not determine its format.
    #[error("{}: the name ends neither in .toml nor in .json", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
    },
    /// A file does not parse. It may be incomplete.
    #[error("{}{}: {reason}", .file.display(), Line(*.line))]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1, if it is known.
        line: Option<usize>,
        /// The parser's message.
        reason: String,
    },
    /// A value is wrong, or a key is missing or unknown.
    #[error("{}{}: {}{reason}", Place(.origin), Line(*.line), Key(.key))]
    Wrong {
        /// Where the value came from, if it is known.
        origin: Option<Origin>,
        /// The key, with dots, if it is known.
        key: Option<String>,
        /// The line in the file, from 1, if it is known.
        line: Option<usize>,
        /// What was found and what was expected.
        reason: String,
    },
    /// The settings have the right form, but the program refuses them.
    #[error("{reason}")]
    Invalid {
        /// The program's reason.
        reason: String,
    },
    /// A file cannot be watched.
    #[error("{0}\n  what to do: {remedy}", remedy = .0.remedy())]
    Watch(#[from] WatchError),
    /// The system refused to start a thread.
    #[error(
        "the settings cannot be watched: no thread could be started: {0}\n  what to do: {remedy}",
        remedy = thread_remedy(.0)
    )]
    Thread(std::io::Error),
}

impl ConfigError {
    /// The file that the error is about, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Missing { file } | Self::Unreadable { file, .. } | Self::Format { file } | Self::Syntax { file, .. } => {
                Some(file)
            }
            Self::Wrong {
                origin: Some(Origin::File(file)),
                ..
            } => Some(file),
            _ => None,
        }
    }

    /// The key that the error is about, with dots, if there is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Wrong { key, .. } => key.as_deref(),
            _ => None,
        }
    }

    /// Whether the error may pass by itself, because a process is writing or replacing a file.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Missing { .. } | Self::Syntax { .. })
    }

    /// Whether a process has the file open for writing.
    pub(crate) fn is_being_written(&self) -> bool {
        matches!(self, Self::Unreadable { transient: true, .. })
    }

    pub(crate) fn unreadable(file: &Path, error: &StageError) -> Self {
        Self::Unreadable {
            file: file.to_owned(),
            reason: error.to_string(),
            transient: error.is_transient(),
        }
    }
}

struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

struct Key<'a>(&'a Option<String>);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(key) => write!(f, "`{key}`: "),
            None => Ok(()),
        }
    }
}

struct Place<'a>(&'a Option<Origin>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(origin) => origin.fmt(f),
            None => f.write_str("the settings"),
        }
    }
}
