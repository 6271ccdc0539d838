//! The guide's first chapter, done word for word: its commands are run, its edits are made, and what it says that the program prints must
//! be printed. `chapter` reads the blocks, `terminals` runs what goes on beside the reader.
#![forbid(unsafe_code)]

mod chapter;
mod terminals;

use chapter::{Block, Edit, blocks};
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};
use terminals::Terminals;

/// What the chapter calls the new workspace, as seen from the clone.
const PLACE: &str = "../my-game";

#[test]
fn the_first_chapter_is_true() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("it lies in the repository");
    let text = fs::read_to_string(repository.join("docs/first-plugin.md")).expect("the chapter is there");
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let place = scratch.path().join("my-game");
    let mut here = repository.to_owned();
    let mut terminals = Terminals::default();
    let mut last_edits = Vec::new();
    let all = blocks(&text);
    assert!(all.len() > 12, "the chapter has its blocks: {}", all.len());
    for block in all {
        eprintln!("── {block:?}");
        match block {
            Block::Run(lines) => {
                for line in lines.lines() {
                    match line.strip_prefix("cd ") {
                        Some(PLACE) => here = place.clone(),
                        Some(other) => panic!("the chapter goes to {other}, which nobody knows"),
                        None => run(&line.replace(PLACE, &place.display().to_string()), &here),
                    }
                    if line.contains("new-project") {
                        share_what_is_compiled(&place);
                    }
                }
            }
            Block::Background(line) => terminals.start(shell(line.trim(), &here)),
            Block::Output(lines) => lines.lines().for_each(|line| terminals.wait_for(line)),
            Block::Edit(edit) => edit_file(&here, &edit, &mut last_edits),
        }
    }
}

fn shell(line: &str, folder: &Path) -> Command {
    let mut command = Command::new("bash");
    // As a reader's shell: without what `cargo test` says of this package, and with output lines at once.
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO") && name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    command.args(["-e", "-c", line]).current_dir(folder).env("NO_COLOR", "1");
    command
}

fn run(line: &str, folder: &Path) {
    let output = shell(line, folder).output().expect("bash is there");
    assert!(
        output.status.success(),
        "`{line}` ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The new workspace has the profiles of this one, so that what is compiled here need not be compiled again.
fn share_what_is_compiled(place: &Path) {
    let test = env::current_exe().expect("this test is a file");
    let debug = test.ancestors().nth(2).expect("…/debug/deps/guide-…");
    fs::create_dir(place.join("target")).expect("a new folder");
    symlink(debug, place.join("target/debug")).expect("a link");
}

fn edit_file(here: &Path, edit: &Edit, last: &mut Vec<(PathBuf, String)>) {
    let (file, new) = match edit {
        Edit::Line { file, new } | Edit::Append { file, new } | Edit::Replace { file, new, .. } => (here.join(file), new),
    };
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let edited = match edit {
        Edit::Append { .. } => format!("{text}\n{new}"),
        Edit::Replace { old, .. } => {
            assert!(text.contains(old.as_str()), "{} has no {old:?}:\n{text}", file.display());
            text.replacen(old, new.trim(), 1)
        }
        Edit::Line { .. } => {
            // The line that the chapter has changed before, or that with the greeting.
            let before = last.iter().rev().find(|(of, _)| *of == file).map(|(_, line)| line.clone());
            let before =
                before.unwrap_or_else(|| text.lines().find(|line| line.contains("format!")).expect("a line").to_owned());
            assert!(text.contains(&before), "{} has no {before:?}:\n{text}", file.display());
            let line = new.trim_end().to_owned();
            let edited = text.replace(&before, &line);
            last.push((file.clone(), line));
            edited
        }
    };
    fs::write(&file, edited).expect("it can be written");
}
