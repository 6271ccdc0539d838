//! `cargo xtask foreign [FILE|FOLDER…]`: the loader's part of the host against libraries that nobody here wrote, each opened and
//! closed in a child process of its own. The program behind it is the demo's.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// Libraries, or folders of them; without any, this machine's own
    files: Vec<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut files = arguments.files;
    if files.is_empty() {
        files.push(system_libraries().context("this machine's libraries are in none of the usual places: name a folder")?);
    }
    let manifest = crate::repository().join("Cargo.toml");
    let mut command = Command::new(example::program("reslot-demo", "foreign", &manifest).build()?);
    for file in files {
        command.arg(std::path::absolute(&file)?);
    }
    example::become_program(command)
}

/// Debian's place, or the others'.
fn system_libraries() -> Option<PathBuf> {
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [triplet.as_str(), "/usr/lib64", "/usr/lib"]
        .map(PathBuf::from)
        .into_iter()
        .find(|folder| folder.is_dir())
}
