//! The guide's first chapter, done word for word: its commands are run, its edits are made, and what it says that the program prints must
//! be printed. `chapter` reads the blocks, `terminals` runs what goes on beside the reader. All of it is done without the clone, with packaged
//! crates (`outside`), by `reslot`, which stands for `cargo xtask` there.
#![forbid(unsafe_code)]

mod chapter;
mod outside;
mod terminals;

use chapter::{Block, Edit, blocks};
use outside::Outside;
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};
use terminals::Terminals;

/// What the chapter calls the new workspace, as seen from the clone.
const PLACE: &str = "../my-game";

/// Each of these tests compiles hosts, with time limits for what follows. They take turns, so that none waits for the other's compiler.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn the_first_chapter_is_true() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let text = fs::read_to_string(repository().join("docs/first-plugin.md")).expect("the chapter is there");
    let text = text.replace("cargo xtask ", "reslot ");
    let outside = Outside::new();
    let place = outside.folder().join("my-game");
    let mut here = outside.folder().to_owned();
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
                        None => finish(outside.shell(&line.replace(PLACE, &place.display().to_string()), &here)),
                    }
                    if line.contains("new-project") {
                        share_compiled(&place.join("target"));
                        // The versions of all other crates that are compiled already.
                        fs::copy(repository().join("Cargo.lock"), place.join("Cargo.lock")).expect("it can be copied");
                    }
                }
            }
            Block::Background(line) => terminals.start(outside.shell(line.trim(), &here)),
            Block::Output(lines) => lines.lines().for_each(|line| terminals.wait_for(line)),
            Block::Edit(edit) => edit_file(&here, &edit, &mut last_edits),
        }
    }
    let lock = fs::read_to_string(place.join("Cargo.lock")).expect("cargo wrote it");
    for name in ["reslot", "reslot-plugin-api", "reslot-testkit"] {
        let (_, package) = lock.split_once(&format!("name = \"{name}\"\n")).expect("it is used");
        let source = package.lines().nth(1).expect("it has a version, and then a source");
        assert!(
            source.starts_with("source = \"sparse+"),
            "{name} is no crate of a registry: {source}"
        );
    }
}

/// A target folder of the user's own changes where cargo builds, and not where a program and `build-plugin` meet.
#[test]
fn the_program_finds_its_plugin_whatever_target_folder_cargo_uses() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let place = scratch.path().join("their-game");
    run(&format!("cargo xtask new-project {}", place.display()), repository());
    for (folder, by_environment) in [("by-environment", true), ("by-configuration", false)] {
        let target = scratch.path().join(folder);
        share_compiled(&target);
        let with_target = |mut command: Command| {
            if by_environment {
                command.env("CARGO_TARGET_DIR", &target);
            }
            command
        };
        if !by_environment {
            let configuration = place.join(".cargo/config.toml");
            let text = fs::read_to_string(&configuration).expect("new-project wrote it");
            let text = format!("{text}\n[build]\ntarget-dir = {target:?}\n");
            fs::write(&configuration, text).expect("it can be written");
        }
        finish(with_target(shell("cargo xtask build-plugin", &place)));
        let mut terminals = Terminals::default();
        terminals.start(with_target(shell("cargo run -p their-game", &place)));
        terminals.wait_for("generation 1, greeting 1: Hello, you!");
        // The verbs that ask the program are passed on by `cargo xtask`, and find its socket.
        for verb in ["list", "history hello", "who-holds hello"] {
            finish(with_target(shell(&format!("cargo xtask {verb}"), &place)));
        }
        drop(terminals);
        fs::remove_dir_all(place.join("target")).expect("build-plugin published there");
    }
}

fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("they lie in the repository")
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
    finish(shell(line, folder));
}

fn finish(mut command: Command) {
    let output = command.output().expect("bash is there");
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Makes a target folder that uses what was compiled for this workspace's debug builds. A new workspace has the same profiles, so that cargo
/// finds its dependencies compiled. Finished programs and libraries stay apart: those of this workspace have the same names.
fn share_compiled(target: &Path) {
    let test = env::current_exe().expect("this test is a file");
    let debug = test.ancestors().nth(2).expect("…/debug/deps/guide-…");
    fs::create_dir_all(target.join("debug")).expect("a new folder");
    // The lock is one of them: cargo works in the others only while it holds it.
    for name in [".cargo-lock", ".fingerprint", "build", "deps", "incremental"] {
        symlink(debug.join(name), target.join("debug").join(name)).expect("a link");
    }
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
