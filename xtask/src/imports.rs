//! `cargo xtask imports`: checks that this repository's plugins import from libc only symbols that are known to be harmless.
//!
//! Inside each plugin the SDK replaces the symbols by which std ties a library to the process. A new Rust release or
//! dependency may use other symbols. So this verb builds the plugins and some typical fixtures in both profiles, and each
//! symbol that they import must be in `imports.txt`. The imports are read by the host's lint, which `reslot inspect` prints
//! as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use xtask::{Package, PluginBuild, Profile, Workspace};

use crate::{cli, paint};

const LIST: &str = "xtask/imports.txt";

/// Fixtures that behave like usual plugins. The others misbehave on purpose.
const FIXTURES: [&str; 3] = ["fx-counter", "fx-probe", "fx-shared-counter"];

pub fn run() -> anyhow::Result<ExitCode> {
    let passed = passes()?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds, compares, and prints what it finds.
pub fn passes() -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(crate::repository().join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let list = List::parse(&text, std::env::consts::ARCH)?;
    let libraries = inspect(&build()?)?;
    let mut faults = 0;
    let mut fault = |words: String| {
        faults += 1;
        anstream::println!("{} {words}", paint::bad("fault:"));
    };
    for library in &libraries {
        for finding in &library.findings {
            fault(format!("{}: the host would refuse it: {}", library.name, finding.what));
        }
    }
    let unknown = unknown(&libraries, &list);
    for (symbol, importers) in &unknown {
        let (first, more) = importers.split_at(importers.len().min(3));
        let more = if more.is_empty() {
            String::new()
        } else {
            format!(" and {} more", more.len())
        };
        fault(format!(
            "`{symbol}` is imported by {}{more} and is not in {LIST}",
            first.join(", ")
        ));
    }
    for library in &libraries {
        for warning in &library.warnings {
            anstream::println!("{} {}: {warning}", paint::caution("remark:"), library.name);
        }
    }
    for symbol in list.unused(&libraries) {
        anstream::println!(
            "{} `{symbol}` is in {LIST} and is not imported any more",
            paint::caution("remark:")
        );
    }
    let count = libraries.len();
    anstream::println!(
        "{count} libraries, {} symbols on the list: {faults} faults",
        list.accepted.len()
    );
    if !unknown.is_empty() {
        anstream::println!("\n{ADVICE}");
    }
    Ok(faults == 0)
}

const ADVICE: &str = "\
A new Rust release or a new dependency may use something that bypasses the SDK's replacements. For each symbol, ask:
- is it given a function, or the address of something static, that libc or the kernel keeps until after `dlclose`?
- does it start a thread, or make a key, in another way than pthread_create and pthread_key_create?
If so, replace it in plugin-api/src/inside/libc_symbols.rs, or judge it in host/artifact/src/lint/imports.rs.
If not, add it to xtask/imports.txt, in its family and in order; one that only some processors have as `x86_64: NAME`.";

/// Every library in both profiles, with its name for messages.
fn build() -> anyhow::Result<Vec<(String, PathBuf)>> {
    let workspace = Workspace::read(&crate::repository())?;
    let fixture = |name: &&str| {
        workspace
            .loadable(name)
            .with_context(|| format!("no package builds the library {name}"))
    };
    let fixtures: Vec<&Package> = FIXTURES.iter().map(fixture).collect::<anyhow::Result<_>>()?;
    let packages: Vec<&Package> = workspace.plugins().chain(fixtures).collect();
    let mut built = Vec::new();
    for (profile, title) in [(Profile::Debug, "debug"), (Profile::Release, "release")] {
        for package in &packages {
            let library = PluginBuild::new(&workspace, package, profile).quiet().build()?.library;
            built.push((format!("{} ({title})", package.name), library));
        }
    }
    Ok(built)
}

/// The result of the host's lint for a library.
#[derive(Debug, Deserialize)]
struct Library {
    #[serde(skip)]
    name: String,
    imports: Vec<String>,
    findings: Vec<Finding>,
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    what: String,
}

fn inspect(built: &[(String, PathBuf)]) -> anyhow::Result<Vec<Library>> {
    let mut command = cli::reslot("inspect")?;
    command.arg("--json");
    command
        .args(built.iter().map(|(_, library)| library))
        .stderr(Stdio::inherit());
    let output = command.output().context("cannot start cargo to inspect the libraries")?;
    // Exit code 1 means that a library would be refused; it is reported below.
    ensure!(
        matches!(output.status.code(), Some(0 | 1)),
        "`inspect` could not read the libraries: {}",
        output.status
    );
    let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Library>();
    let mut libraries = documents
        .collect::<Result<Vec<_>, _>>()
        .context("`inspect` printed no JSON")?;
    ensure!(
        libraries.len() == built.len(),
        "`inspect` reported only {} libraries",
        libraries.len()
    );
    for (library, (name, _)) in libraries.iter_mut().zip(built) {
        library.name.clone_from(name);
        ensure!(
            !library.imports.is_empty(),
            "{name} imports nothing: its symbols were not read"
        );
    }
    Ok(libraries)
}

/// The symbols that are not on the list, each with its importers.
fn unknown<'a>(libraries: &'a [Library], list: &List) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut unknown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for library in libraries {
        for symbol in library.imports.iter().filter(|symbol| !list.accepted.contains(*symbol)) {
            unknown.entry(symbol).or_default().push(&library.name);
        }
    }
    unknown
}

/// The symbols that `imports.txt` allows on this processor.
#[derive(Debug)]
struct List {
    accepted: BTreeSet<String>,
}

impl List {
    /// One symbol per line, or `x86_64: NAME` for a symbol of one processor. Comments separate groups, and each group is
    /// sorted.
    fn parse(text: &str, processor: &str) -> anyhow::Result<List> {
        let mut accepted = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut last = None;
        for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                last = None;
                continue;
            }
            let (only, symbol) = match line.split_once(": ") {
                Some((only, symbol)) => (Some(only), symbol),
                None => (None, line),
            };
            if last.is_some_and(|last| last >= symbol) {
                bail!("{LIST}:{at}: `{symbol}` is not in order");
            }
            ensure!(seen.insert(line), "{LIST}:{at}: `{line}` occurs twice");
            last = Some(symbol);
            if only.is_none_or(|only| only == processor) {
                accepted.insert(symbol.to_owned());
            }
        }
        Ok(List { accepted })
    }

    fn unused<'a>(&'a self, libraries: &[Library]) -> Vec<&'a str> {
        let imported = |symbol: &String| libraries.iter().any(|library| library.imports.contains(symbol));
        let unused = self.accepted.iter().filter(|symbol| !imported(symbol));
        unused.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Memory.\nfree\nmalloc\n\n# Unwinding.\n_Unwind_Resume\nx86_64: __tls_get_addr\n";

    fn library(imports: &[&str]) -> Library {
        Library {
            name: "greeter (debug)".to_owned(),
            imports: imports.iter().map(|name| (*name).to_owned()).collect(),
            findings: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn import_that_is_not_on_the_list_is_named_with_its_importers() {
        let list = List::parse(TEXT, "x86_64").expect("in order");
        let libraries = [
            library(&["free", "on_exit"]),
            library(&["malloc", "on_exit", "__tls_get_addr"]),
        ];
        let unknown = unknown(&libraries, &list);
        assert_eq!(
            unknown.into_iter().collect::<Vec<_>>(),
            [("on_exit", vec!["greeter (debug)"; 2])]
        );
        assert_eq!(list.unused(&libraries), ["_Unwind_Resume"]);
    }

    #[test]
    fn an_entry_for_another_processor_does_not_count() {
        let list = List::parse(TEXT, "aarch64").expect("in order");
        assert!(!list.accepted.contains("__tls_get_addr"));
        assert_eq!(list.accepted.len(), 3);
    }

    #[test]
    fn the_list_is_kept_in_order_and_without_repetition() {
        for (text, words) in [
            ("malloc\nfree\n", "imports.txt:2: `free` is not in order"),
            ("free\nfree\n", "is not in order"),
            ("free\n# Again.\nfree\n", "imports.txt:3: `free` occurs twice"),
        ] {
            let error = List::parse(text, "x86_64").expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
        let checked_in = std::fs::read_to_string(crate::repository().join(LIST)).expect("it is there");
        List::parse(&checked_in, "x86_64").expect("what is checked in");
    }
}
