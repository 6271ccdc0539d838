//! `cargo xtask tidy`: rules of this repository that rustfmt and clippy do not know.
//!
//! Each finding has the place, the fault and the remedy. Most rules check text, not syntax, so they are simple, and their
//! mistakes are easy to see.

mod circles;
mod examples;
mod invariants;
mod references;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};

use crate::paint;
use crate::published::Packages;

use invariants::Sources;
use references::RustFiles;

/// A file longer than this gets a remark.
const LONG: usize = 500;
/// How far above an `unsafe impl` its SAFETY comment may stand.
const NEAR: usize = 6;
/// Texts that name files which are not in this repository.
const EXEMPT_FROM_REFERENCES: [&str; 3] = ["CHANGELOG.md", "docs/first-plugin.md", "xtask/src/tidy/references.rs"];
/// Names that do not describe the content.
const EMPTY_NAMES: [&str; 4] = ["utils", "util", "helpers", "helper"];
/// Folders in which each Rust file must begin with a paragraph.
const OPENING: &[&str] = &[
    "host/src",
    "host/artifact/src",
    "host/cli/src",
    "host/config/src",
    "host/control/src",
    "host/engine/src",
    "host/linked/src",
    "host/metrics/src",
    "host/native/src",
    "host/process/src",
    "host/system/src",
    "host/report/src",
    "host/runtime/src",
    "host/stage/src",
    "host/sync/src",
    "plugin-api",
    "plugins",
    "project/src",
    "testkit",
    "tests",
    "xtask/src",
];
/// Addresses of registries, which no file may contain. They are in two parts, so that this file passes its own check.
const REGISTRIES: [(&str, &str); 5] = [
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("pypi", ".org"),
    ("deb.", "debian.org"),
    ("registry.", "npmjs.org"),
];

/// Texts by which a source includes another file.
const INCLUDES: [&str; 4] = ["include_str!(\"", "include_bytes!(\"", "include!(\"", "#[path = \""];

/// The crates for users, from the lowest floor up, each with its allowed dependencies in this repository.
const FLOORS: &[(&str, &[&str])] = &[
    ("plugin-api/macros", &[]),
    ("host/sync", &[]),
    // Only in a build for exploration.
    ("plugin-api", &["reslot-plugin-macros", "reslot-sync"]),
    ("project", &[]),
    ("host/system", &["reslot-sync"]),
    ("host/artifact", &["reslot-plugin-api"]),
    ("host/report", &["reslot-artifact", "reslot-plugin-api"]),
    (
        "host/stage",
        &["reslot-artifact", "reslot-system", "reslot-report", "reslot-sync"],
    ),
    (
        "host/engine",
        &[
            "reslot-artifact",
            "reslot-plugin-api",
            "reslot-system",
            "reslot-report",
            "reslot-stage",
            "reslot-sync",
        ],
    ),
    (
        "host/native",
        &[
            "reslot-artifact",
            "reslot-engine",
            "reslot-plugin-api",
            "reslot-system",
            "reslot-report",
            "reslot-stage",
            "reslot-sync",
        ],
    ),
    (
        "host/process",
        &[
            "reslot-artifact",
            "reslot-engine",
            "reslot-native",
            "reslot-plugin-api",
            "reslot-report",
            "reslot-stage",
            "reslot-sync",
            "reslot-system",
        ],
    ),
    (
        "host/linked",
        &[
            "reslot-artifact",
            "reslot-engine",
            "reslot-native",
            "reslot-plugin-api",
            "reslot-system",
            "reslot-report",
            "reslot-stage",
            "reslot-sync",
        ],
    ),
    // The feature `remote` of reslot, with which a host has stubs, is for those who use this.
    (
        "host/wasm",
        &[
            "reslot-artifact",
            "reslot-engine",
            "reslot-plugin-api",
            "reslot-report",
            "reslot-stage",
            "reslot-sync",
            "reslot-system",
        ],
    ),
    (
        "host/runtime",
        &[
            "reslot-artifact",
            "reslot-engine",
            "reslot-linked",
            "reslot-native",
            "reslot-plugin-api",
            "reslot-system",
            "reslot-report",
            "reslot-stage",
            "reslot-sync",
        ],
    ),
    ("host/config", &["reslot-runtime"]),
    ("host/control", &["reslot-runtime"]),
    ("host/metrics", &["reslot-runtime"]),
    (
        "host",
        &["reslot-config", "reslot-control", "reslot-metrics", "reslot-runtime"],
    ),
    (
        "host/cli",
        &["reslot", "reslot-control", "reslot-plugin-api", "reslot-project"],
    ),
    ("testkit", &["reslot", "reslot-plugin-api"]),
];

#[derive(Debug, PartialEq)]
struct Finding {
    file: PathBuf,
    line: usize,
    what: String,
    is_remark: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

pub fn run() -> anyhow::Result<ExitCode> {
    let passed = passes(&crate::repository())?;
    if passed {
        anstream::println!("{}", paint::good("tidy"));
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Checks every file that git tracks or would add, and prints the findings.
pub fn passes(repository: &Path) -> anyhow::Result<bool> {
    let mut findings = Vec::new();
    let files = files(repository)?;
    let rust_files = RustFiles::among(&files);
    for file in &files {
        // The file was deleted but is still tracked, or it is not text.
        let Ok(text) = fs::read_to_string(repository.join(file)) else {
            continue;
        };
        findings.extend(look_at(file, &text));
        findings.extend(references_to_nothing(&rust_files, file, &text));
    }
    for of in FLOORS.iter().map(|(of, _)| *of).chain(["xtask"]) {
        findings.extend(circles_in(repository, &Path::new(of).join("src"), &files));
    }
    findings.extend(invariants_of_nothing(repository, &files));
    findings.extend(without_example(repository, &files));
    findings.extend(unpublishable(repository)?);
    let (remarks, faults): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| finding.is_remark);
    for remark in &remarks {
        anstream::println!("{} {remark}", paint::caution("remark:"));
    }
    for fault in &faults {
        anstream::println!("{} {fault}", paint::bad("fault:"));
    }
    anstream::println!("{} files: {} faults, {} remarks", files.len(), faults.len(), remarks.len());
    Ok(faults.is_empty())
}

fn files(repository: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let git = Command::new("git")
        .current_dir(repository)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot list the files to check: install git")?;
    ensure!(
        git.status.success(),
        "cannot list the files to check: {}",
        String::from_utf8_lossy(&git.stderr).trim()
    );
    let names = String::from_utf8_lossy(&git.stdout).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

/// Every rule on one file, named relative to the repository.
fn look_at(file: &Path, text: &str) -> Vec<Finding> {
    let mut found = registries(file, text);
    found.extend(floors(file, text));
    if file.extension().is_some_and(|extension| extension == "rs") {
        found.extend(opening(file, text));
        found.extend(name(file));
        found.extend(unsafe_impls(file, text));
        found.extend(unsafe_where_none_belongs(file, text));
        found.extend(length(file, text));
        found.extend(files_of_other_crates(file, text));
    }
    found
}

/// A crate depends on the floors below it and on no other crate of this repository. Crates under `host/` that have no floor are found, too.
fn floors(file: &Path, text: &str) -> Vec<Finding> {
    let is_manifest = file.file_name().is_some_and(|name| name == "Cargo.toml");
    let folder = file.parent().unwrap_or(file);
    let allowed = FLOORS
        .iter()
        .find(|(of, _)| Path::new(of) == folder)
        .map(|(_, allowed)| *allowed);
    if !is_manifest || (allowed.is_none() && !folder.starts_with("host")) {
        return Vec::new();
    }
    let Some(allowed) = allowed else {
        return vec![fault(
            file,
            1,
            "this crate has no floor: add it to FLOORS in xtask/src/tidy.rs",
        )];
    };
    let manifest: toml::Table = text.parse().unwrap_or_default();
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys);
    let ours = names.filter(|name| *name == "reslot" || name.starts_with("reslot-"));
    ours.filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| {
            let what = format!(
                "`{name}` is not below this crate: move the needed part down, or change FLOORS in xtask/src/tidy.rs"
            );
            fault(file, 1, what)
        })
        .collect()
}

/// A comment or a page that names a Rust file leads to it. The changelog may name files that are gone, and the guide names those of the
/// reader's own project.
fn references_to_nothing(rust_files: &RustFiles<'_>, file: &Path, text: &str) -> Vec<Finding> {
    let is_read = file
        .extension()
        .is_some_and(|extension| extension == "rs" || extension == "md");
    if !is_read || EXEMPT_FROM_REFERENCES.iter().any(|exempt| file == Path::new(exempt)) {
        return Vec::new();
    }
    let missing = rust_files.missing_in(file, text).into_iter();
    let faults = missing.map(|(line, named)| {
        let what = format!(
            "`{named}` is no file of this repository: name the file that is meant, with as much of its path as it needs"
        );
        fault(file, line, what)
    });
    faults.collect()
}

/// The table of invariants names places and tests that exist.
fn invariants_of_nothing(repository: &Path, files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let table = Path::new(invariants::TABLE);
    let Ok(text) = fs::read_to_string(repository.join(table)) else {
        return vec![fault(table, 1, "cannot be read: it lists what must always hold")];
    };
    let rust = files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    let sources: Vec<_> = rust
        .filter_map(|file| Some((file.clone(), fs::read_to_string(repository.join(file)).ok()?)))
        .collect();
    let faults = Sources(&sources).faults_in(&text).into_iter();
    faults.map(|(line, what)| fault(table, line, what)).collect()
}

/// Checks import cycles between the files of a crate.
fn circles_in(repository: &Path, sources: &Path, files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let of_crate = files.iter().filter_map(|file| {
        let below = file.strip_prefix(sources).ok()?;
        let is_rust = below.extension().is_some_and(|extension| extension == "rs");
        let text = fs::read_to_string(repository.join(file)).ok()?;
        is_rust.then(|| (below.to_owned(), text))
    });
    let found = circles::too_large(&of_crate.collect::<Vec<_>>());
    let faults = found.into_iter().map(|circle| {
        let names: Vec<_> = circle.files.iter().map(|file| file.display().to_string()).collect();
        let why = match circle.crosses {
            true => "across folders",
            false => "more than three of them",
        };
        let what = format!(
            "these files import each other, {why}: {}; move the data that they share down, into a file that imports none of them",
            names.join(", ")
        );
        fault(&sources.join(&circle.files[0]), 1, what)
    });
    faults.collect()
}

/// Checks that a packaged crate uses only files of its own folder. Files in `tests` are not packaged.
fn files_of_other_crates(file: &Path, text: &str) -> Vec<Finding> {
    let crate_of = |file: &Path| {
        let folders = FLOORS.iter().map(|(folder, _)| Path::new(*folder));
        folders
            .filter(|folder| file.starts_with(folder))
            .max_by_key(|folder| folder.components().count())
    };
    let Some(own) = crate_of(file).filter(|own| !file.starts_with(own.join("tests"))) else {
        return Vec::new();
    };
    let is_missing = |name: &str| {
        let mut path = PathBuf::new();
        for part in file.with_file_name(name).components() {
            match part {
                Component::ParentDir => drop(path.pop()),
                part => path.push(part),
            }
        }
        crate_of(&path) != Some(own) || path.starts_with(own.join("tests"))
    };
    let names = |line: &str| {
        let after = INCLUDES.iter().filter_map(|begin| line.split_once(begin));
        let names = after.filter_map(|(_, after)| after.split_once('"'));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| names(line).iter().any(|name| is_missing(name)))
        .map(|(at, _)| {
            fault(
                file,
                at + 1,
                "uses a file that the published crate does not have: move it into the crate's folder",
            )
        })
        .collect()
}

/// Public types that an embedder calls, and that do not show how.
fn without_example(repository: &Path, files: &BTreeSet<PathBuf>) -> Vec<Finding> {
    let shown = |file: &&PathBuf| {
        let is_rust = file.extension().is_some_and(|extension| extension == "rs");
        let shows = file.starts_with("host") || file.starts_with("plugin-api/src");
        let is_test = file.components().any(|part| part.as_os_str() == "tests");
        is_rust && shows && !is_test && !file.starts_with("host/cli")
    };
    let texts = files.iter().filter(shown).filter_map(|file| {
        let text = fs::read_to_string(repository.join(file)).ok()?;
        Some((file.clone(), text))
    });
    let missing = examples::missing(&texts.collect::<Vec<_>>()).into_iter();
    let reported = missing.map(|missing| {
        let what = format!(
            "`{}` is public, has methods, and no example shows how to call them: write one that runs, or name the reason in \
             xtask/src/tidy/examples.rs",
            missing.name
        );
        fault(&missing.file, missing.line, what)
    });
    reported.collect()
}

/// The faults of published crates.
fn unpublishable(repository: &Path) -> anyhow::Result<Vec<Finding>> {
    let packages = Packages::read(repository)?;
    let below = |path: &Path| path.strip_prefix(repository).unwrap_or(path).to_owned();
    let faults = packages.faults().into_iter();
    let mut findings: Vec<_> = faults.map(|found| fault(&below(&found.manifest), 1, found.what)).collect();
    let has_floor = |folder: &Path| FLOORS.iter().any(|(of, _)| Path::new(of) == folder);
    let published = packages.published().into_iter().map(|package| below(package.folder()));
    findings.extend(published.filter(|folder| !has_floor(folder)).map(|folder| {
        let what = "this crate is published and has no floor: add it to FLOORS in xtask/src/tidy.rs";
        fault(&folder.join("Cargo.toml"), 1, what)
    }));
    Ok(findings)
}

fn fault(file: &Path, line: usize, what: impl Into<String>) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        what: what.into(),
        is_remark: false,
    }
}

fn opening(file: &Path, text: &str) -> Option<Finding> {
    let first = text.lines().next().unwrap_or_default();
    let opens = first.strip_prefix("//!").is_some_and(|prose| !prose.trim().is_empty());
    let concerned = OPENING.iter().any(|folder| file.starts_with(folder));
    (concerned && !opens).then(|| {
        fault(
            file,
            1,
            "does not begin with a `//!` paragraph: describe its purpose in the first line",
        )
    })
}

fn name(file: &Path) -> Option<Finding> {
    let empty = |part: &Path| EMPTY_NAMES.iter().any(|name| part == Path::new(name));
    let stem = file.with_extension("");
    stem.components()
        .any(|part| empty(part.as_ref()))
        .then(|| fault(file, 1, "its name does not describe its content: choose another one"))
}

fn length(file: &Path, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let what = format!("{lines} lines: could it be two files, each with one subject?");
    (lines > LONG).then(|| Finding {
        file: file.to_owned(),
        line: LONG,
        what,
        is_remark: true,
    })
}

fn unsafe_impls(file: &Path, text: &str) -> Vec<Finding> {
    let lines: Vec<&str> = text.lines().collect();
    let unargued = |at: &usize| !lines[at.saturating_sub(NEAR)..*at].iter().any(|line| line.contains("SAFETY"));
    let impls = (0..lines.len()).filter(|at| lines[*at].trim_start().starts_with("unsafe impl"));
    let what = "`unsafe impl` without a SAFETY comment above it: name the reference or lock that makes it true";
    impls.filter(unargued).map(|at| fault(file, at + 1, what)).collect()
}

fn unsafe_where_none_belongs(file: &Path, text: &str) -> Vec<Finding> {
    let shown_to_users = file.starts_with("plugins") || file.components().any(|part| part.as_os_str() == "examples");
    if !shown_to_users {
        return Vec::new();
    }
    let what = "`unsafe` in code that users copy: move it into host/ or plugin-api/";
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| code_words(line).any(|word| word == "unsafe"))
        .map(|(at, _)| fault(file, at + 1, what))
        .collect()
}

/// The words of a line without its comment.
fn code_words(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

fn registries(file: &Path, text: &str) -> Vec<Finding> {
    let names_one = |line: &str| REGISTRIES.iter().any(|(head, tail)| line.contains(&format!("{head}{tail}")));
    let what = "contains the address of a package registry: this belongs into each machine's cargo configuration";
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| names_one(line))
        .map(|(at, _)| fault(file, at + 1, what))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [usize; 0] = [];

    fn lines_found(file: &str, text: &str) -> Vec<usize> {
        look_at(Path::new(file), text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn files_open_with_prose() {
        assert_eq!(lines_found("host/src/a.rs", "//! What it is.\n"), NOTHING);
        for text in ["", "//!\n//! Late.\n", "use std::fs;\n", "// A comment.\n"] {
            assert_eq!(lines_found("tests/fixtures/a/src/lib.rs", text), [1], "{text:?}");
        }
        assert_eq!(
            lines_found("host/build.rs", "fn main() {}\n"),
            NOTHING,
            "not in one of the folders"
        );
    }

    #[test]
    fn empty_names_are_found_in_files_and_folders() {
        let prose = "//! What it is.\n";
        assert_eq!(lines_found("host/src/utils.rs", prose), [1]);
        assert_eq!(lines_found("host/src/helpers/mod.rs", prose), [1]);
        assert_eq!(lines_found("host/src/utilisation.rs", prose), NOTHING);
    }

    #[test]
    fn an_unsafe_impl_needs_an_argument_nearby() {
        let argued = "//! X.\n// SAFETY: the lock in `self` is held.\n#[allow(dead_code)]\nunsafe impl Send for A {}\n";
        assert_eq!(lines_found("host/src/a.rs", argued), NOTHING);
        assert_eq!(lines_found("host/src/a.rs", "//! X.\n\nunsafe impl Send for A {}\n"), [3]);
    }

    #[test]
    fn unsafe_is_found_in_code_but_not_in_comments_or_longer_words() {
        let text = "//! No unsafe here.\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(lines_found("plugins/greeter/src/lib.rs", text), [3]);
        assert_eq!(lines_found("host/examples/embed.rs", text), [3]);
        assert_eq!(lines_found("host/src/image.rs", text), NOTHING);
    }

    #[test]
    fn crates_depend_on_lower_floors_only() {
        let on = |name: &str| format!("[dependencies]\nserde = \"1\"\n{name}.workspace = true\n");
        assert_eq!(lines_found("host/artifact/Cargo.toml", &on("reslot-plugin-api")), NOTHING);
        assert_eq!(lines_found("host/artifact/Cargo.toml", &on("reslot")), [1]);
        assert_eq!(lines_found("host/Cargo.toml", &on("reslot-cli")), [1]);
        assert_eq!(
            lines_found("host/new/Cargo.toml", "[package]\n"),
            [1],
            "a crate without a floor"
        );
        assert_eq!(lines_found("tests/Cargo.toml", &on("reslot-cli")), NOTHING);
    }

    #[test]
    fn files_outside_of_a_published_crate_are_found() {
        let with = |name: &str| format!("//! X.\nconst TEXT: &str = include_str!({name:?});\n");
        assert_eq!(lines_found("project/src/verbs/a.rs", &with("../../data/new/b.in")), NOTHING);
        assert_eq!(lines_found("project/src/verbs/a.rs", &with("../../../docs/b.md")), [2]);
        assert_eq!(
            lines_found("host/src/a.rs", &with("../artifact/src/b.rs")),
            [2],
            "a crate in a crate's folder"
        );
        assert_eq!(
            lines_found("host/src/a.rs", &with("../tests/b.txt")),
            [2],
            "tests are not packaged"
        );
        assert_eq!(lines_found("testkit/tests/a.rs", &with("../../docs/b.md")), NOTHING);
        assert_eq!(lines_found("tests/src/lib.rs", &with("../../docs/b.md")), NOTHING);
    }

    #[test]
    fn registries_are_found_in_any_file() {
        let line = format!("registry = \"https://{}crates.io/\"\n", "index.");
        assert_eq!(lines_found(".cargo/config.toml", &line), [1]);
        assert_eq!(
            lines_found(
                "Cargo.lock",
                "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n"
            ),
            NOTHING
        );
    }

    #[test]
    fn long_files_get_a_remark_only() {
        let text = format!("//! X.\n{}", "\n".repeat(LONG));
        assert!(
            look_at(Path::new("host/src/a.rs"), &text)
                .iter()
                .all(|finding| finding.is_remark)
        );
        assert_eq!(lines_found("host/src/a.rs", &text), [LONG]);
    }
}
