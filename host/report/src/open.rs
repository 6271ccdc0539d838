//! Why a linted copy could not become an image.

use crate::remedies::{self, Purpose};
use std::{io, path::PathBuf};

/// Why a linted copy could not become an image. What the loader has mapped stays mapped then, and is counted as quarantined: what
/// its static constructors have done is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The loader's own words.
    #[error("the loader refused it: {0}")]
    Loader(String),
    /// The system does not have the copy mapped as code.
    #[error("the loader refused it: {words}: {source}")]
    Mapping {
        /// The loader's own words, which do not say why.
        words: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The loader answered with something that was mapped before.
    #[error("the loader answered with an image that was already mapped from {0}")]
    AlreadyMapped(PathBuf),
    /// The root is missing or is not one.
    #[error("its root is not usable: {0}")]
    Root(&'static str),
    /// The mapped root has another layout than the host's.
    #[error("the layout of its root differs from the host's: {0}")]
    Layout(String),
    /// A static constructor made pthread keys or threads. libc would call into the image when a thread ends, so it stays
    /// mapped.
    #[error(
        "its static constructors made {0} pthread key(s) with a destructor or thread(s), before they could be told from the \
         process's own; it stays mapped, because libc holds pointers into it"
    )]
    EarlyRegistrations(usize),
    /// The image is not the artifact that was linted.
    #[error("the mapped manifest is not the one that was linted")]
    OtherManifest,
    /// Somebody has removed the private copy before the loader had opened it.
    #[error("its private copy {0:?} is gone, somebody has removed it")]
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
            Self::OtherManifest => "build the plugin again; if a tool rewrote the library after linking, leave it out",
            Self::CopyGone(_) => {
                "load it again; and keep cleaners of temporary files away from the private folder, or let `private_base` name a folder that \
                 nobody cleans"
            }
        }
    }

    /// Whether the same bytes would fail again, whatever else changes. What the loader misses may be there the next time.
    pub fn blames_the_artifact(&self) -> bool {
        !matches!(
            self,
            Self::Loader(_) | Self::Mapping { .. } | Self::CopyGone(_) | Self::AlreadyMapped(_)
        )
    }
}

/// The same for the loader's own words, which are all that it gives.
pub fn remedy_of_loader(words: &str) -> &'static str {
    let says = |part: &str| words.contains(part);
    if says("static TLS block") {
        return "build C and C++ parts with -ftls-model=global-dynamic; or raise glibc.rtld.optional_static_tls in GLIBC_TUNABLES";
    }
    if says("executable stack") {
        return "link the plugin with -z noexecstack, and mark its assembler files so";
    }
    if says("undefined symbol") || says("version `") {
        return "install what the loader misses, or link the plugin against what is there";
    }
    remedies::of_words(words, Purpose::Mapping)
        .unwrap_or("see what the loader says; if that is not the reason, build the plugin again")
}
