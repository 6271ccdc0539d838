//! The table of invariants: each file, each name in it and each test that a row names is there. Otherwise the table goes on promising
//! what nobody looks at any more.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Where the table is.
pub const TABLE: &str = "host/INVARIANTS.md";
/// Where the models are.
const MODELS: &str = "tests/explore/src/models";
/// Parts of a path that are no part of a module's name.
const NO_MODULES: [&str; 5] = ["src", "tests", "main", "lib", "mod"];
/// How a row says that nothing in `tests/` keeps its invariant.
const WITHOUT_TEST: [&str; 2] = ["no test", "compiler"];

/// Rust files of the repository, with their texts.
pub struct Sources<'a>(pub &'a [(PathBuf, String)]);

impl Sources<'_> {
    /// The lines of the table, from 1, with what is wrong in each.
    pub fn faults_in(&self, table: &str) -> Vec<(usize, String)> {
        let mut faults = Vec::new();
        for (at, line) in table.lines().enumerate() {
            let cells: Vec<_> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            let is_row = line.starts_with('|') && !line.starts_with("|---") && cells[0] != "invariant";
            let found = match &cells[..] {
                _ if !is_row => Vec::new(),
                [_, place, tests, explored] => {
                    let tests = self.faults_of_tests(tests);
                    [self.faults_of_place(place), tests, self.faults_of_explored(explored)].concat()
                }
                _ => vec![
                    "has not four columns: the invariant, the place that keeps it, the tests that notice, what explores it"
                        .to_owned(),
                ],
            };
            faults.extend(found.into_iter().map(|what| (at + 1, what)));
        }
        faults
    }

    /// Files exist, and every other name in backticks occurs in one of them.
    fn faults_of_place(&self, cell: &str) -> Vec<String> {
        let (files, names): (Vec<_>, Vec<_>) = in_backticks(cell).partition(|name| is_file(name));
        let found: Vec<_> = files.iter().map(|file| (*file, self.text_of(file))).collect();
        let missing = found.iter().filter(|(_, text)| text.is_none());
        let mut faults: Vec<_> = missing.map(|(file, _)| no_file(file)).collect();
        let texts: Vec<_> = found.iter().filter_map(|(_, text)| *text).collect();
        for name in names.into_iter().filter(|name| is_path_of_names(name)) {
            let last = name.rsplit("::").next().unwrap_or(name);
            if !texts.iter().any(|text| has_word(text, last)) {
                faults.push(format!("`{name}` occurs in no file of its row: name the file that has it"));
            }
        }
        faults
    }

    /// Each test exists, and there is one, or a word about why there is none.
    fn faults_of_tests(&self, cell: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut names_one = false;
        for name in in_backticks(cell) {
            if let Some(verb) = name.strip_prefix("cargo xtask ") {
                names_one = true;
                let file = format!("xtask/src/{verb}.rs");
                faults.extend(self.text_of(&file).is_none().then(|| no_file(&file)));
            } else if is_file(name) {
                names_one = true;
                faults.extend(self.text_of(name).is_none().then(|| no_file(name)));
            } else if name.contains("::") {
                names_one = true;
                let what =
                    format!("`{name}` is no test: name one that fails if the invariant is broken, or write \"no test\"");
                faults.extend((!self.has_test(name)).then_some(what));
            }
        }
        if !names_one && !WITHOUT_TEST.iter().any(|words| cell.contains(words)) {
            faults.push("names no test: name one as `program::module::function`, or write \"no test\"".to_owned());
        }
        faults
    }

    /// Each model and each property exists, or the cell says after a dash why there is none.
    fn faults_of_explored(&self, cell: &str) -> Vec<String> {
        let is_there = |name: &str| match name.strip_prefix("cargo xtask ") {
            Some(verb) => self.text_of(&format!("xtask/src/{verb}.rs")).is_some(),
            None => self.has_model(name) || self.has_test(name),
        };
        let missing = in_backticks(cell).filter(|name| !is_there(name));
        let mut faults: Vec<_> = missing
            .map(|name| format!("`{name}` is no model of tests/explore, no property and no verb: name one, or write `—:` and why there is none"))
            .collect();
        if !cell.contains('`') && !cell.contains("simulation") && !cell.starts_with("—: ") {
            faults.push(
                "names nothing that explores it: name a model, a property or a verb, or write `—:` and why there is none"
                    .to_owned(),
            );
        }
        faults
    }

    /// Whether `cargo xtask explore` has a model of this name.
    fn has_model(&self, name: &str) -> bool {
        let quoted = format!("\"{name}\",");
        let is_there = |(file, text): &(PathBuf, String)| file.starts_with(MODELS) && text.contains(&quoted);
        self.0.iter().any(is_there)
    }

    /// The text of a file, by its path in the repository or in `host/`.
    fn text_of(&self, named: &str) -> Option<&str> {
        let is_it = |file: &Path| file == Path::new(named) || file == Path::new("host").join(named);
        let found = self.0.iter().find(|(file, _)| is_it(file));
        found.map(|(_, text)| text.as_str())
    }

    /// Whether a test of this name stands in a file of this module: a function right after its attributes, of which one is `#[test]` and none
    /// `#[ignore]`; or a function of a program that has a `main` of its own and no harness.
    fn has_test(&self, named: &str) -> bool {
        let Some((modules, function)) = named.rsplit_once("::") else {
            return false;
        };
        let modules: Vec<_> = modules.split("::").filter(|part| !NO_MODULES.contains(part)).collect();
        let is_there = |text: &str| {
            let has_main = text.lines().any(|line| line.starts_with("fn main("));
            let head = format!("fn {function}");
            text.match_indices(&head)
                .any(|(at, head)| text[at + head.len()..].starts_with(['(', '<']) && (is_run(&text[..at]) || has_main))
        };
        self.0
            .iter()
            .any(|(file, text)| module_of(file).ends_with(&modules) && is_there(text))
    }
}

/// Whether the attributes at the end of this text make the function behind it a test that is run.
fn is_run(before: &str) -> bool {
    let lines = before.lines().rev().map(str::trim).skip_while(|line| line.is_empty());
    let attributes: Vec<_> = lines.take_while(|line| line.starts_with("#[")).collect();
    attributes.contains(&"#[test]") && !attributes.iter().any(|attribute| attribute.starts_with("#[ignore"))
}

/// The parts of a file's path that name its module.
fn module_of(file: &Path) -> Vec<&str> {
    let parts = file.components().filter_map(|part| part.as_os_str().to_str());
    let parts = parts.map(|part| part.strip_suffix(".rs").unwrap_or(part));
    parts.filter(|part| !NO_MODULES.contains(part)).collect()
}

/// Every second part of a text stands between two backticks.
fn in_backticks(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

fn is_file(name: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new("rs"))
}

fn is_path_of_names(name: &str) -> bool {
    let is_plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    !name.is_empty() && name.chars().all(is_plain)
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn no_file(name: &str) -> String {
    format!("`{name}` is no file: write its path in the repository, or in `host/`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "| invariant | kept by | a test that notices | explored by |\n|---|---|---|---|\n";

    fn faults(row: &str) -> Vec<String> {
        let sources = [
            (
                "host/runtime/src/reload/swap.rs",
                "fn swap() {}\npub(super) fn publish() {}\n",
            ),
            ("tests/scenarios/races.rs", "#[test]\nfn host_may_go() {}\n"),
            ("tests/soak/main.rs", "#[test]\nfn chaos_loses_no_call() {}\n"),
            ("host/native/src/resources/tests.rs", "#[test]\nfn keys_are_rounds() {}\n"),
            ("plugin-api/tests/round_trip/panics.rs", "#[test]\nfn a_panic() {}\n"),
            ("xtask/src/bench.rs", ""),
            ("tests/explore/src/models/gates.rs", "[(\"gate\", \"no call is lost\", gate)]"),
        ];
        let sources = sources.map(|(file, text)| (PathBuf::from(file), text.to_owned()));
        let faults = Sources(&sources).faults_in(&format!("{HEAD}{row}\n"));
        assert!(faults.iter().all(|(line, _)| *line == 3), "{faults:?}");
        faults.into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn tests_are_found_in_programs_and_beside_the_code() {
        for test in [
            "scenarios::races::host_may_go",
            "soak::chaos_loses_no_call",
            "native::resources::tests::keys_are_rounds",
            "plugin-api::round_trip::panics::a_panic",
        ] {
            assert_eq!(
                faults(&format!("| a | `runtime/src/reload/swap.rs` | `{test}` | —: the compiler |")),
                [""; 0],
                "{test}"
            );
        }
        for test in [
            "scenarios::races::host_may",
            "scenarios::soak::chaos_loses_no_call",
            "races::host_may_go_on",
        ] {
            let found = faults(&format!("| a | b | `{test}` | —: the compiler |"));
            assert!(matches!(&found[..], [what] if what.contains("is no test")), "{found:?}");
        }
    }

    #[test]
    fn row_names_a_test_a_verb_or_says_that_there_is_none() {
        for tests in ["`cargo xtask bench`", "no test: it takes a day", "the compiler"] {
            assert_eq!(faults(&format!("| a | b | {tests} | —: the compiler |")), [""; 0], "{tests}");
        }
        for tests in ["", "`soak`", "reading", "`cargo xtask nothing`"] {
            assert_eq!(faults(&format!("| a | b | {tests} | —: the compiler |")).len(), 1, "{tests}");
        }
        assert_eq!(faults("| a | no test |").len(), 1, "a column is missing");
    }

    #[test]
    fn models_and_properties_exist() {
        let explored = |cell: &str| faults(&format!("| a | b | no test | {cell} |"));
        for cell in [
            "`gate`",
            "the simulation",
            "`soak::chaos_loses_no_call`, `cargo xtask bench`",
            "—: the compiler",
        ] {
            assert_eq!(explored(cell), [""; 0], "{cell}");
        }
        for cell in ["", "`gates`", "`gate`, `soak::nothing`", "`cargo xtask nothing`", "no"] {
            assert_eq!(explored(cell).len(), 1, "{cell}");
        }
    }

    #[test]
    fn files_and_the_names_in_them_exist() {
        let place = |cell: &str| faults(&format!("| a | {cell} | no test | —: the compiler |"));
        assert_eq!(place("`runtime/src/reload/swap.rs`: `swap`, `Slots::publish`"), [""; 0]);
        assert_eq!(
            place("`xtask/src/bench.rs`; one `store` and `fn x()`").len(),
            1,
            "`store` is nowhere"
        );
        assert_eq!(place("`reload/swap.rs`").len(), 1, "not the whole path");
        assert_eq!(place("`runtime/src/reload/swap.rs`: `publ`").len(), 1, "a part of a word");
    }
}
