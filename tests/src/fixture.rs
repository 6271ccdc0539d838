//! Fixture plugins: real libraries, built once a process by cargo, with the profile of the program that asks. A fixture that
//! carries a stamp can be had as any number of different builds, by patching the stamp.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, OnceLock},
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
    /// Where the digits of its stamps begin: found once, the search is long.
    marks: Vec<usize>,
}

impl Fixture {
    /// Builds the package `package` (a workspace member) and reads its library.
    ///
    /// # Panics
    /// If it does not build: the tests cannot go on.
    pub fn build(package: &str) -> Self {
        static BUILT: OnceLock<Mutex<HashMap<String, Fixture>>> = OnceLock::new();
        let mut built = BUILT
            .get_or_init(Mutex::default)
            .lock()
            .expect("a fixture failed to build before");
        built.entry(package.to_owned()).or_insert_with(|| build(package)).clone()
    }

    /// The library as cargo made it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same build with another number in it: other bytes, another answer of `stamp`.
    ///
    /// # Panics
    /// If the fixture carries no stamp.
    pub fn stamped(&self, stamp: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        assert!(!self.marks.is_empty(), "the fixture carries a stamp");
        for at in &self.marks {
            bytes[*at..at + DIGITS].copy_from_slice(format!("{stamp:010}").as_bytes());
        }
        bytes
    }

    /// The library's file name.
    pub fn file(&self) -> &str {
        &self.file
    }
}

fn build(package: &str) -> Fixture {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the workspace");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(root)
        .args(["build", "--quiet", "--locked", "--package", package]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.output().expect("cargo runs");
    assert!(
        output.status.success(),
        "{package} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let file = format!("lib{}.so", package.replace('-', "_"));
    let bytes = fs::read(target.join(profile).join(&file)).expect("cargo built the library");
    let marks = bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let marks = marks.map(|(at, _)| at + MARK.len()).collect();
    Fixture { bytes, file, marks }
}

/// A folder of artifacts, published into as `build-plugin` does.
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
    /// If the system gives none.
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
