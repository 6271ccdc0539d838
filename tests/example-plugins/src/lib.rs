//! Plugins for the examples in the documentation: the repository's own sample plugins, built once a process by cargo, in a folder of the
//! example's own. An example names it in a hidden line, `# let plugins = example_plugins::folder();`.

use std::{
    ffi::OsStr,
    fs,
    ops::Deref,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

/// The packages whose libraries lie in the folder.
const PACKAGES: [&str; 3] = ["greeter", "momentum", "pricer"];

/// A folder with the libraries of the sample plugins. It is removed when this is dropped.
pub struct Plugins {
    folder: TempDir,
    /// Builds that are not published yet.
    unpublished: TempDir,
}

/// A new folder with `libgreeter.so`, `libmomentum.so` and `libpricer.so`.
///
/// # Panics
/// If they do not build, or cannot be copied.
pub fn folder() -> Plugins {
    let plugins = Plugins {
        folder: tempfile::tempdir().expect("a temporary folder"),
        unpublished: tempfile::tempdir().expect("a temporary folder"),
    };
    for package in PACKAGES {
        let file = file_of(package);
        fs::copy(built().join(&file), plugins.join(file)).expect("the folder is writable");
    }
    plugins
}

impl Plugins {
    /// Another build of a plugin, outside of the folder: the same code in a file with other bytes.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn new_build(&self, package: &str) -> PathBuf {
        static BUILDS: AtomicU64 = AtomicU64::new(1);
        let mut bytes = fs::read(built().join(file_of(package))).expect("cargo built the library");
        // The loader does not read what is behind the sections.
        bytes.extend(BUILDS.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
        let path = self.unpublished.path().join(file_of(package));
        fs::write(&path, bytes).expect("the folder is writable");
        path
    }
}

impl Deref for Plugins {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.folder.path()
    }
}

impl AsRef<OsStr> for Plugins {
    fn as_ref(&self) -> &OsStr {
        self.folder.path().as_os_str()
    }
}

fn file_of(package: &str) -> String {
    format!("lib{package}.so")
}

/// The folder into which cargo puts the libraries.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
        let root = root.expect("this package lies two folders below the workspace");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = target.join("debug");
        // Each example is a process, and one process starts them all. The first example builds for the others.
        let (stamp, starter) = (folder.join(".example-plugins"), starter());
        if starter.is_none() || fs::read_to_string(&stamp).ok() != starter {
            build(root);
            if let Some(starter) = starter {
                // Without the stamp the next example asks cargo again.
                let _ = fs::write(stamp, starter);
            }
        }
        folder
    })
}

fn build(root: &Path) {
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).args(["build", "--quiet", "--locked"]).args(packages);
    assert!(
        cargo.status().expect("cargo runs").success(),
        "the sample plugins do not build"
    );
}

/// The process that started this one: its number, and when it began, so that a later process of this number is another one.
fn starter() -> Option<String> {
    let number = parent_id();
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name, in parentheses, may have spaces. The moment is the 22nd field.
    let begun = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?;
    Some(format!("{number} {begun}"))
}
