//! Names of files in comments and pages. A reader follows them, so that one that leads nowhere costs more than none.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// The Rust files of this repository, by the ends of their paths.
pub struct RustFiles<'a>(&'a BTreeSet<PathBuf>);

impl<'a> RustFiles<'a> {
    /// Among all tracked files.
    pub fn among(files: &'a BTreeSet<PathBuf>) -> Self {
        Self(files)
    }

    /// The lines of a text, from 1, that name a Rust file in backticks which does not exist, each with the name.
    pub fn missing_in(&self, file: &Path, text: &str) -> Vec<(usize, String)> {
        let is_rust = file.extension().is_some_and(|extension| extension == "rs");
        let mut missing = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let prose = match is_rust {
                true => line.find("//").map(|from| &line[from..]),
                false => Some(line),
            };
            // Every second part stands between two backticks.
            for named in prose.into_iter().flat_map(|prose| prose.split('`').skip(1).step_by(2)) {
                if is_name_of_rust_file(named) && !self.exists(file, named) {
                    missing.push((at + 1, named.to_owned()));
                }
            }
        }
        missing
    }

    fn exists(&self, from: &Path, named: &str) -> bool {
        let named = Path::new(named.strip_prefix("./").unwrap_or(named));
        self.0.iter().any(|file| file.ends_with(named)) || self.0.contains(&beside(from, named))
    }
}

/// The path of a file that is named relative to another one.
fn beside(from: &Path, named: &Path) -> PathBuf {
    let mut path = from.parent().unwrap_or(from).to_owned();
    for part in named.components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            part => path.push(part),
        }
    }
    path
}

/// Patterns such as `*.rs` or `{open,unload}.rs`, and the extension alone, name no single file.
fn is_name_of_rust_file(named: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    named.ends_with(".rs") && named.len() > ".rs".len() && named.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(file: &str, text: &str) -> Vec<(usize, String)> {
        let files = ["host/src/lib.rs", "host/src/reload/swap.rs", "README.md"]
            .map(PathBuf::from)
            .into();
        RustFiles::among(&files).missing_in(Path::new(file), text)
    }

    #[test]
    fn comment_that_names_a_file_which_is_not_there_is_found() {
        let text = "//! See `swap.rs` and `reload/swap.rs`.\nlet a = \"`gone.rs`\"; // in `image/unload.rs`\n";
        assert_eq!(missing("host/src/lib.rs", text), [(2, "image/unload.rs".to_owned())]);
    }

    #[test]
    fn pages_are_read_as_a_whole_and_relative_to_their_folder() {
        assert_eq!(missing("docs/a.md", "`../host/src/lib.rs`, `x/*.rs`, `.rs`\n"), []);
        assert_eq!(missing("docs/a.md", "text\n`host/lib.rs`\n"), [(2, "host/lib.rs".to_owned())]);
    }
}
