//! Fixture plugins: real libraries, which cargo builds once per process. A fixture with a stamp gives any number of
//! different builds, by patching the stamp.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tempfile::TempDir;

/// The mark in front of the number in a stamped fixture; the number has ten digits.
const MARK: &[u8] = b"RESLOT-FIXTURE-STAMP:";
const DIGITS: usize = 10;

/// A built fixture plugin.
#[derive(Clone)]
pub struct Fixture {
    bytes: Vec<u8>,
    file: String,
    /// The offsets of the digits of its stamps. They are searched once, because the search is slow.
    marks: Vec<usize>,
}

impl Fixture {
    /// Builds the package `package` (a workspace member) with the profile of the calling program, and reads its library.
    ///
    /// # Panics
    /// If it does not build.
    pub fn build(package: &str) -> Self {
        static BUILT: Mutex<BTreeMap<String, Arc<OnceLock<Fixture>>>> = Mutex::new(BTreeMap::new());
        // The map is not locked during a build, so that a test that measures time does not wait for the fixture of another test.
        let place = {
            let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
            built.entry(package.to_owned()).or_default().clone()
        };
        let one = || {
            let mut one = Self::build_all(&[package], Profile::own());
            one.pop().expect("as many as were asked for")
        };
        place.get_or_init(one).clone()
    }

    /// Builds several packages in one go, with the given profile, and reads their libraries.
    ///
    /// # Panics
    /// If one does not build.
    pub fn build_all(packages: &[&str], profile: Profile) -> Vec<Self> {
        let arguments: Vec<_> = packages.iter().flat_map(|package| ["--package", package]).collect();
        let folder = build(&arguments, profile);
        packages.iter().map(|package| Self::read(&folder, package)).collect()
    }

    /// Builds a package with features that the build of the whole workspace does not enable.
    ///
    /// # Panics
    /// If it does not build.
    pub fn build_with(package: &str, features: &[&str], profile: Profile) -> Self {
        let asked = features.iter().flat_map(|feature| ["--features", feature]);
        let arguments: Vec<_> = ["--package", package].into_iter().chain(asked).collect();
        Self::read(&build(&arguments, profile), package)
    }

    fn read(folder: &Path, package: &str) -> Self {
        let file = format!("lib{}.so", package.replace('-', "_"));
        let bytes = fs::read(folder.join(&file)).expect("cargo built the library");
        let marks = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
        let marks = marks.map(|(at, _)| at + MARK.len()).collect();
        Self { bytes, file, marks }
    }

    /// The library as cargo made it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same with changed bytes. The stamps must keep their offsets.
    #[must_use]
    pub fn changed(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.bytes);
        self
    }

    /// The same build with another stamp: its bytes and the result of `stamp` differ.
    ///
    /// # Panics
    /// If the fixture carries no stamp.
    pub fn stamped(&self, stamp: u64) -> Vec<u8> {
        let mut copy = self.clone();
        copy.stamp(stamp);
        copy.bytes
    }

    /// Changes the stamp.
    ///
    /// # Panics
    /// If the fixture carries no stamp.
    pub fn stamp(&mut self, stamp: u64) {
        assert!(!self.marks.is_empty(), "the fixture carries a stamp");
        for at in &self.marks {
            self.bytes[*at..at + DIGITS].copy_from_slice(format!("{stamp:010}").as_bytes());
        }
    }

    /// The library's file name.
    pub fn file(&self) -> &str {
        &self.file
    }
}

/// The preflight's program, built once per process with the profile of the calling program.
///
/// # Panics
/// If it does not build.
pub fn preflight_program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = ["--package", "reslot", "--bin", "reslot-preflight"];
        build(&program, Profile::own()).join("reslot-preflight")
    })
}

/// The program in which the process engine runs plugins, built once per process with the profile of the calling program.
///
/// # Panics
/// If it does not build.
pub fn child_program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = ["--package", "reslot-process", "--bin", "reslot-child"];
        build(&program, Profile::own()).join("reslot-child")
    })
}

/// The program `reslot`, built once per process with the profile of the calling program.
///
/// # Panics
/// If it does not build.
pub fn reslot_program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let program = ["--package", "reslot-cli", "--bin", "reslot"];
        build(&program, Profile::own()).join("reslot")
    })
}

/// Builds with cargo, and returns the output folder.
fn build(what: &[&str], profile: Profile) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--profile", profile.cargos_name()])
        .args(what);
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{what:?} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    // If the target is named, as sanitizers need it, its output has a folder of its own.
    let target = std::env::var_os("CARGO_BUILD_TARGET").map_or(target.clone(), |triple| target.join(triple));
    target.join(profile.folder())
}

/// How fixtures are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Cargo's `dev`.
    Debug,
    /// Cargo's `release`.
    Release,
    /// Our `shipped`: as `release`, with link-time optimisation over everything, and stripped.
    Shipped,
}

impl Profile {
    /// Every one, the quickest to build first.
    pub const ALL: [Self; 3] = [Self::Debug, Self::Release, Self::Shipped];

    /// The profile of the calling program.
    pub fn own() -> Self {
        if cfg!(debug_assertions) { Self::Debug } else { Self::Release }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        self.folder()
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    fn cargos_name(self) -> &'static str {
        match self {
            Self::Debug => "dev",
            other => other.folder(),
        }
    }

    /// The output folder inside the target folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
            Self::Shipped => "shipped",
        }
    }
}

/// A folder of artifacts, into which files are published like `build-plugin` does.
pub struct Folder(TempDir);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// A new, empty folder.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new() -> Self {
        Self(
            tempfile::Builder::new()
                .prefix("artifacts-")
                .tempdir()
                .expect("a temporary folder"),
        )
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes the bytes beside the name and renames them onto it, atomically.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn publish(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let (new, path) = (self.path().join(format!(".{name}.tmp")), self.path().join(name));
        fs::write(&new, bytes).expect("the folder is writable");
        fs::rename(&new, &path).expect("the folder is writable");
        path
    }
}
