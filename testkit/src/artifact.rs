//! The two builds of a run: existing files, packages that cargo builds, or one file from which two are made.

use crate::failure::ArtifactError;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A built plugin for a run.
///
/// ```no_run
/// use reslot_testkit::Artifact;
///
/// let new = Artifact::build("momentum")?;
/// let old = Artifact::at("releases/1.4/libmomentum.so")?;
/// # Ok::<(), reslot_testkit::ArtifactError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact(PathBuf);

impl Artifact {
    /// An existing library file: an old release, or the output of another build step.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Self(path)),
            Ok(_) => Err(ArtifactError::Missing {
                path,
                why: "it is not a file".to_owned(),
            }),
            Err(error) => Err(ArtifactError::Missing {
                path,
                why: error.to_string(),
            }),
        }
    }

    /// Builds a package of the caller's workspace with cargo, in the profile of the calling test, and returns its library.
    /// `CARGO_TARGET_DIR` and cargo's configuration work as on the command line.
    ///
    /// # Errors
    /// If it does not build, with cargo's message, or is not a `cdylib`.
    pub fn build(package: &str) -> Result<Self, ArtifactError> {
        let failed = |why: String| ArtifactError::Build {
            package: package.to_owned(),
            why,
        };
        // cargo sets both variables for tests; a program that is started by hand has neither.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut command = Command::new(cargo);
        if let Some(folder) = env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(folder);
        }
        // A plugin may also be an rlib, for programs that link it. A library that is compiled as both cannot be loaded, so
        // only the cdylib is built.
        command.args(["rustc", "--quiet", "--package", package, "--lib", "--crate-type", "cdylib"]);
        command.args(["--profile", profile]);
        command.args(["--message-format", "json-render-diagnostics"]);
        let output = command.output().map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let library = format!("/lib{}.so", package.replace('-', "_"));
        let messages = String::from_utf8_lossy(&output.stdout);
        // Cargo's messages have the paths as JSON strings. The path of a library has no quotes.
        let path = messages.split('"').find(|text| text.ends_with(&library));
        match path {
            Some(path) => Self::at(path),
            None => Err(failed(format!(
                "cargo made no file that ends with {library:?}: `[lib] crate-type = [\"cdylib\"]` makes it, and its `name` is the package's"
            ))),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        fs::read(&self.0).map_err(|error| ArtifactError::Missing {
            path: self.0.clone(),
            why: error.to_string(),
        })
    }
}

/// The same build with another hash. The loader ignores bytes after the last table of an ELF file, so added bytes change
/// only the hash.
pub(crate) fn twin(bytes: &[u8]) -> Vec<u8> {
    let mut twin = bytes.to_vec();
    twin.extend_from_slice(b"the second of two");
    twin
}

/// Damaged copies of the file, each with a name: truncated copies, and copies with flipped bytes.
pub(crate) fn damaged(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let whole = bytes.len();
    let cut = [0, 1, 63, whole / 4, whole / 2, whole.saturating_sub(1_000)];
    let cuts = cut.into_iter().filter(|at| *at < whole).map(|at| {
        let name = format!("the file, broken off at byte {at} of {whole}");
        (name, bytes[..at].to_vec())
    });
    // Bytes of the header: the magic number, the class, the machine, the offset of the section headers.
    let flips = [1, 4, 18, 40].into_iter().filter(|at| *at < whole).map(|at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0xff;
        (format!("the file, byte {at} of its header turned over"), flipped)
    });
    cuts.chain(flips).collect()
}
