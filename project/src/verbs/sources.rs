//! Finds the source files under a folder, and detects changes of their content.
//!
//! Editors write, rename and touch more files than a person saves, and some systems report that the compiler reads files. So
//! an event only says *where to look*. A fingerprint of the content decides, so that duplicate events are harmless.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The sources of one package as last seen.
#[derive(Debug)]
pub struct Sources {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Seen>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    size: u64,
    modified: Option<SystemTime>,
    fingerprint: u64,
}

impl Sources {
    /// Scans `folder` for the first time.
    pub fn of(folder: &Path) -> Sources {
        let mut sources = Sources {
            folder: folder.to_owned(),
            files: BTreeMap::new(),
        };
        sources.look();
        sources
    }

    /// The package's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Scans again, and returns the files that were added, removed or changed since the last scan.
    pub fn look(&mut self) -> Vec<PathBuf> {
        let mut found = BTreeMap::new();
        let mut changed = Vec::new();
        visit(&self.folder, &mut |path| {
            let before = self.files.remove(&path);
            let now = fingerprint(&path, before.as_ref());
            if now.as_ref().map(|seen| seen.fingerprint) != before.map(|seen| seen.fingerprint) {
                changed.push(path.clone());
            }
            if let Some(now) = now {
                found.insert(path, now);
            }
        });
        changed.extend(std::mem::replace(&mut self.files, found).into_keys());
        changed
    }
}

/// Whether `path`, relative to a package's folder, can be a source: not in `target/`, not hidden, not an editor's own file.
pub fn is_source(path: &Path) -> bool {
    path.components().all(|part| !is_ignored(part.as_os_str()))
}

fn is_ignored(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let hidden = name.starts_with('.') && name != "." && name != "..";
    let backup = name.ends_with('~') || name.ends_with(".bak") || name.ends_with(".orig");
    let emacs = name.starts_with('#') && name.ends_with('#');
    let vim = name == "4913" || name.ends_with(".swp") || name.ends_with(".swx");
    let jetbrains = name.ends_with("___jb_tmp___") || name.ends_with("___jb_old___");
    name == "target" || hidden || backup || emacs || vim || jetbrains || name.ends_with(".tmp")
}

/// Every source file under `folder`, without the packages nested in it.
fn visit(folder: &Path, found: &mut dyn FnMut(PathBuf)) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| !is_ignored(&entry.file_name())) {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !path.join("Cargo.toml").is_file() => visit(&path, found),
            Ok(kind) if !kind.is_dir() => found(path),
            _ => {}
        }
    }
}

/// The file as it is now; its content is read only if size or time differ from `before`.
fn fingerprint(path: &Path, before: Option<&Seen>) -> Option<Seen> {
    let metadata = fs::metadata(path).ok()?;
    let (size, modified) = (metadata.len(), metadata.modified().ok());
    if let Some(before) = before.filter(|before| before.size == size && before.modified == modified && modified.is_some()) {
        return Some(before.clone());
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(path).ok()?);
    Some(Seen {
        size,
        modified,
        fingerprint: hasher.finish(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_hidden_and_editors_files_are_no_sources() {
        for path in [
            "target/debug/x.rs",
            ".git/index",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "src/4913",
            "src/#lib.rs#",
            "src/.#lib.rs",
            "a.tmp",
        ] {
            assert!(!is_source(Path::new(path)), "{path}");
        }
        for path in ["src/lib.rs", "Cargo.toml", "build.rs", "src/targets/mod.rs", "prices.csv"] {
            assert!(is_source(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn only_a_change_of_content_counts() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = folder.path().join("lib.rs");
        fs::write(&file, "one").expect("write");
        let mut sources = Sources::of(folder.path());
        assert!(sources.look().is_empty());

        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options()
            .append(true)
            .open(&file)
            .and_then(|file| file.set_modified(later))
            .expect("touch");
        fs::write(folder.path().join("lib.rs~"), "backup").expect("write");
        assert!(sources.look().is_empty(), "touched, and a backup written");

        fs::write(&file, "two").expect("write");
        assert_eq!(sources.look(), std::slice::from_ref(&file));
        fs::remove_file(&file).expect("remove");
        assert_eq!(sources.look(), [file]);
        assert!(sources.look().is_empty());
    }

    #[test]
    fn nested_package_is_left_out() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        fs::create_dir(folder.path().join("macros")).expect("create");
        fs::write(folder.path().join("macros/Cargo.toml"), "").expect("write");
        let mut sources = Sources::of(folder.path());
        fs::write(folder.path().join("macros/lib.rs"), "").expect("write");
        assert!(sources.look().is_empty());
    }
}
