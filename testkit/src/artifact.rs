//! Where the two builds come from: a file that is there, a package that cargo builds, or one file made into two.

use crate::failure::ArtifactError;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A built plugin, as the kit is given it.
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
    /// A library file that is there already: a release that was kept, or what another build step made.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ArtifactError> {
        let path = path.into();
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Self(path)),
            Ok(_) => Err(ArtifactError::Missing {
                path,
                why: "it is no file".to_owned(),
            }),
            Err(error) => Err(ArtifactError::Missing {
                path,
                why: error.to_string(),
            }),
        }
    }

    /// Has cargo build a package of the caller's workspace, with the profile of the test that asks, and answers its library.
    /// `CARGO_TARGET_DIR` and cargo's configuration count as they do on the command line: the path is what cargo says.
    ///
    /// # Errors
    /// If it does not build, with cargo's own words, or is no `cdylib`.
    pub fn build(package: &str) -> Result<Self, ArtifactError> {
        let failed = |why: String| ArtifactError::Build {
            package: package.to_owned(),
            why,
        };
        // What runs a test sets both; a program that is started by hand has neither.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut command = Command::new(cargo);
        if let Some(folder) = env::var_os("CARGO_MANIFEST_DIR") {
            command.current_dir(folder);
        }
        // A plugin may be an rlib as well, for programs that link it; what is compiled as both is not what a host loads.
        command.args(["rustc", "--quiet", "--package", package, "--lib", "--crate-type", "cdylib"]);
        command.args(["--profile", profile]);
        command.args(["--message-format", "json-render-diagnostics"]);
        let output = command.output().map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let library = format!("/lib{}.so", package.replace('-', "_"));
        let messages = String::from_utf8_lossy(&output.stdout);
        // The paths stand in cargo's messages as JSON texts; a quote cannot be in one of a library that cargo names.
        let path = messages.split('"').find(|text| text.ends_with(&library));
        match path {
            Some(path) => Self::at(path),
            None => Err(failed(format!(
                "cargo made no file that ends with {library:?}: `[lib] crate-type = [\"cdylib\"]` makes it, and its `name` is the package's"
            ))),
        }
    }

    /// Where it is.
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

/// The same build under another hash: nothing of an ELF file that is loaded lies behind its last table, so bytes there change what it
/// is called and not what it does.
pub(crate) fn twin(bytes: &[u8]) -> Vec<u8> {
    let mut twin = bytes.to_vec();
    twin.extend_from_slice(b"the second of two");
    twin
}

/// The file damaged in ways that happen: copies that broke off, and bytes that turned over. Each with its name.
pub(crate) fn damaged(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let whole = bytes.len();
    let cut = [0, 1, 63, whole / 4, whole / 2, whole.saturating_sub(1_000)];
    let cuts = cut.into_iter().filter(|at| *at < whole).map(|at| {
        let name = format!("the file, broken off at byte {at} of {whole}");
        (name, bytes[..at].to_vec())
    });
    // What the header says of itself: the magic number, the class, the machine, where the section headers are.
    let flips = [1, 4, 18, 40].into_iter().filter(|at| *at < whole).map(|at| {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0xff;
        (format!("the file, byte {at} of its header turned over"), flipped)
    });
    cuts.chain(flips).collect()
}
