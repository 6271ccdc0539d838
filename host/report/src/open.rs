//! Why a linted copy could not become an image.

use crate::{
    EngineKind,
    remedies::{self, Purpose},
};
use std::{io, path::PathBuf};

/// Why a linted copy could not become an image. What the loader has mapped stays mapped and counts as quarantined, because
/// it is unknown what its static constructors did.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::OpenError;
///
/// let error = OpenError::Root("it is missing");
/// assert!(error.blames_the_artifact()); // the same bytes would fail again
/// assert!(error.remedy().starts_with("rebuild the plugin"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The loader's message.
    #[error("the loader refused it: {0}")]
    Loader(String),
    /// The system refused to map the copy as code.
    #[error("the loader refused it: {words}: {source}")]
    Mapping {
        /// The loader's message, which does not give the reason.
        words: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The loader returned an image that was already mapped.
    #[error("the loader answered with an image that was already mapped from {0}")]
    AlreadyMapped(PathBuf),
    /// The plugin's root is missing or invalid.
    #[error("its root is not usable: {0}")]
    Root(&'static str),
    /// The mapped root has another layout than the host's.
    #[error("the layout of its root differs from the host's: {0}")]
    Layout(String),
    /// A static constructor made pthread keys or threads. libc would call into the image when a thread ends, so it stays
    /// mapped.
    #[error(
        "its static constructors made {0} pthread key(s) with a destructor or thread(s), before the host could tell them \
             from the process's own; it stays mapped, because libc holds pointers into it"
    )]
    EarlyRegistrations(usize),
    /// The image is not the artifact that was linted.
    #[error("the mapped manifest is not the one that was linted")]
    OtherManifest,
    /// An engine for sandboxes or processes cannot run it.
    #[error("the {engine} engine cannot run it: {why}")]
    Engine {
        /// The engine.
        engine: EngineKind,
        /// Why not.
        why: String,
        /// What a person can do about it.
        remedy: &'static str,
        /// Whether the same bytes would fail again, whatever else changes.
        blames_the_artifact: bool,
    },
    /// The private copy was removed before the loader opened it.
    #[error("its private copy {0:?} was removed by another program")]
    CopyGone(PathBuf),
}

impl OpenError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Loader(words) => remedy_of_loader(words),
            Self::Mapping { source, .. } => remedies::of(source, Purpose::Mapping),
            Self::AlreadyMapped(_) => "this is a bug in Reslot: please report it",
            Self::EarlyRegistrations(_) => {
                "make thread-locals, keys and threads in `start` or later, not in static constructors"
            }
            Self::Root(_) | Self::Layout(_) => "rebuild the plugin with the host's version of reslot-plugin-api",
            Self::Engine { remedy, .. } => remedy,
            Self::OtherManifest => {
                "build the plugin again; if a tool rewrites the library after linking, do not use that \
                 tool"
            }
            Self::CopyGone(_) => {
                "load it again; and exclude the private folder from cleaners of temporary files, or set `private_base` to \
                     a folder that is not cleaned"
            }
        }
    }

    /// Whether the same bytes would fail again, whatever else changes. False if the loader misses a library, because that
    /// may be installed later.
    pub fn blames_the_artifact(&self) -> bool {
        match self {
            Self::Loader(_) | Self::Mapping { .. } | Self::CopyGone(_) | Self::AlreadyMapped(_) => false,
            Self::Engine { blames_the_artifact, .. } => *blames_the_artifact,
            Self::Root(_) | Self::Layout(_) | Self::EarlyRegistrations(_) | Self::OtherManifest => true,
        }
    }
}

/// What to do about a message of the loader, which gives only text.
pub fn remedy_of_loader(words: &str) -> &'static str {
    let says = |part: &str| words.contains(part);
    if says("static TLS block") {
        return "build C and C++ parts with -ftls-model=global-dynamic; or raise glibc.rtld.optional_static_tls in GLIBC_TUNABLES";
    }
    if says("executable stack") {
        return "link the plugin with -z noexecstack, and mark its assembler files so";
    }
    if says("undefined symbol") || says("version `") {
        return "install the library that the loader misses, or link the plugin against an installed one";
    }
    remedies::of_words(words, Purpose::Mapping)
        .unwrap_or("follow the loader's message; if it does not help, build the plugin again")
}
