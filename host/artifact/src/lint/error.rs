//! The findings of the lint. The text says what was found and expected, and the remedy says what to do.

use crate::{compat::Difference, manifest::ManifestError};

/// One reason why an artifact must not be loaded.
///
/// ```
/// use reslot_artifact::inspect;
///
/// let findings = inspect(b"no library").findings;
/// println!("{}\n  what to do: {}", findings[0], findings[0].remedy());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LintError {
    /// No bytes at all.
    #[error("the file is empty")]
    Empty,
    /// The file is not an ELF file.
    #[error("not an ELF file: it begins with {}{}", hex(first), looks(looks_like))]
    NotElf {
        /// The first bytes, eight at most.
        first: Vec<u8>,
        /// What it looks like.
        looks_like: Option<&'static str>,
    },
    /// Part of the file is missing.
    #[error("the file is incomplete: {what} needs it to have {needs} bytes, it has {has}")]
    Truncated {
        /// The part that ends beyond the file.
        what: String,
        /// Where that part ends.
        needs: u64,
        /// The size of the file.
        has: u64,
    },
    /// The file contradicts itself.
    #[error("the ELF file is damaged: {what}")]
    Malformed {
        /// The contradiction.
        what: String,
    },
    /// A 32-bit file on a 64-bit host.
    #[error("a {found} ELF file, this host needs {expected}")]
    WrongClass {
        /// The class of the file.
        found: &'static str,
        /// The class of this host.
        expected: &'static str,
    },
    /// A file for the other byte order.
    #[error("a {found} ELF file, this host needs {expected}")]
    WrongEndianness {
        /// The byte order of the file.
        found: &'static str,
        /// The byte order of this host.
        expected: &'static str,
    },
    /// A file for another processor.
    #[error("built for {found}, this host is {expected}")]
    WrongMachine {
        /// The processor of the file.
        found: String,
        /// The processor of this host.
        expected: String,
    },
    /// An ELF file of another kind.
    #[error("not a shared library but {found}")]
    NotSharedLibrary {
        /// What it is.
        found: &'static str,
    },
    /// A library that is not a plugin, or whose sections were removed.
    #[error("no section `.reslot.manifest`: not a Reslot plugin")]
    NoManifest,
    /// Not a module that the WebAssembly engine runs.
    #[error("not a module for the WebAssembly engine: {what}")]
    Module {
        /// What is wrong with it.
        what: String,
        /// What the plugin's author can do.
        remedy: &'static str,
    },
    /// A manifest that this host cannot read.
    #[error("the section `.reslot.manifest` is not usable: {0}")]
    Manifest(ManifestError),
    /// Another compiler.
    #[error("built by {found}, this host was built by {expected}")]
    WrongToolchain {
        /// The compiler that built the plugin.
        found: String,
        /// The compiler that built this host.
        expected: String,
    },
    /// Another target triple.
    #[error("built for target {found}, this host is {expected}")]
    WrongTarget {
        /// The plugin's target triple.
        found: String,
        /// This host's target triple.
        expected: String,
    },
    /// An incompatible version of the crate that both sides share.
    #[error("built with reslot-plugin-api {found}, this host has {expected}")]
    WrongApi {
        /// The version in the plugin.
        found: String,
        /// The version in this host.
        expected: String,
    },
    /// An interface that does not fit the host's.
    #[error("the plugin's interface does not fit the host's:{}", lines(.0))]
    Interface(Vec<Difference>),
    /// Nothing to call.
    #[error("does not export `reslot_root`")]
    NoRoot,
    /// Built with `prefer-dynamic` or as `dylib`: it would bring a second, shared std.
    #[error("needs the shared Rust library `{library}`")]
    NeedsSharedStd {
        /// The name in DT_NEEDED.
        library: String,
    },
    /// Unique symbols, which glibc never unloads.
    #[error("defines {count} unique symbol{} ({}{}): glibc never unloads such a library",
        if *count == 1 { "" } else { "s" }, names.join(", "), if *count > names.len() { ", …" } else { "" })]
    UniqueSymbols {
        /// The first three of them.
        names: Vec<String>,
        /// The number of these symbols.
        count: usize,
    },
    /// An import that no plugin can use safely.
    #[error("imports `{symbol}`: {why}")]
    UnsafeImport {
        /// The imported symbol.
        symbol: String,
        /// What it would do.
        why: &'static str,
        /// What to use in its place.
        instead: &'static str,
    },
    /// An import that the SDK should have replaced when the plugin was linked.
    #[error("imports `{symbol}`, which the SDK replaces inside each plugin: that definition is missing here")]
    Unreplaced {
        /// The imported symbol.
        symbol: String,
    },
    /// Thread-local storage from a small fixed pool.
    #[error("uses static thread-local storage (DF_STATIC_TLS): the process has room for few such libraries")]
    StaticTls,
}

impl LintError {
    /// What the plugin's author can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            LintError::Empty | LintError::Truncated { .. } => {
                "wait for the build or the copy to finish, or build again; put artifacts in place by renaming them"
            }
            LintError::NotElf { .. } => "point the host at the .so that cargo builds for crate-type = [\"cdylib\"]",
            LintError::Malformed { .. } => {
                "build the plugin again; if a tool rewrites the library after linking, do not use that tool"
            }
            LintError::WrongClass { .. }
            | LintError::WrongEndianness { .. }
            | LintError::WrongMachine { .. }
            | LintError::WrongTarget { .. } => "build the plugin with --target set to the host's target",
            LintError::NotSharedLibrary { .. } => "set crate-type = [\"cdylib\"] in the plugin's Cargo.toml",
            LintError::NoManifest => {
                "call export_plugin! in the plugin's lib.rs, and keep the section if a tool strips the library; a crate that is an rlib, too, is built \
                 for a host by `build-plugin`, or by `cargo rustc --lib --crate-type cdylib`"
            }
            LintError::Module { remedy, .. } => remedy,
            LintError::Manifest(ManifestError::WrongFormat { .. }) => {
                "use the version of reslot-plugin-api that belongs to this host"
            }
            LintError::Manifest(ManifestError::BadName { .. }) => "rename the plugin's package",
            LintError::Manifest(ManifestError::BadUse { .. }) => {
                "name slots in `uses = [\"…\"]` of export_plugin!, and build again"
            }
            LintError::Manifest(ManifestError::BadResource { .. }) => {
                "name files below the host's folder of resources in `resources = [\"…\"]` of export_plugin!, and build again"
            }
            LintError::Manifest(ManifestError::BadSchema { .. }) => {
                "give export_plugin! a `migrates_from` of at least 1 and not above its `schema`, and build again"
            }
            LintError::Manifest(_) => "build the plugin again, with one export_plugin! and an unchanged reslot-plugin-api",
            LintError::WrongToolchain { .. } => {
                "build both sides with one toolchain: put the same rust-toolchain.toml beside both, then rebuild the plugin"
            }
            LintError::WrongApi { .. } => {
                "set reslot-plugin-api in the plugin's Cargo.toml to the host's version, and rebuild"
            }
            LintError::Interface(_) => {
                "rebuild the plugin against the host's interface crate; add methods at the end only, with #[since]"
            }
            LintError::NoRoot => {
                "call export_plugin! in the crate that is built as cdylib, and use no version script that hides its symbol"
            }
            LintError::NeedsSharedStd { .. } => {
                "build without -C prefer-dynamic, as crate-type = [\"cdylib\"] and not \"dylib\""
            }
            LintError::UniqueSymbols { .. } => {
                "build the C++ parts with -fno-gnu-unique, or link them statically with hidden visibility"
            }
            LintError::UnsafeImport { instead, .. } => instead,
            LintError::Unreplaced { .. } => {
                "call export_plugin! in the crate that is built as cdylib, with the host's version of reslot-plugin-api"
            }
            LintError::StaticTls => "build C and C++ parts with -ftls-model=global-dynamic",
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn looks(like: &Option<&'static str>) -> String {
    like.map_or(String::new(), |like| format!(", it looks like {like}"))
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}
