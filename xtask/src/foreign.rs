//! `cargo xtask foreign [FILE|FOLDER…]`: tests the host's loader with libraries that were not made for Reslot. Each is
//! opened and closed in its own child process. The program is in tests/demo.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// Libraries, or folders of them [default: this machine's libraries]
    files: Vec<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut files = arguments.files;
    if files.is_empty() {
        files.push(system_libraries().context("the usual folders have no libraries: name a folder")?);
    }
    let manifest = crate::repository().join("Cargo.toml");
    let mut command = Command::new(example::program("reslot-demo", "foreign", &manifest).build()?);
    for file in files {
        command.arg(std::path::absolute(&file)?);
    }
    example::become_program(command)
}

/// The folder of the system's libraries on Debian, or on other systems.
fn system_libraries() -> Option<PathBuf> {
    let triplet = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [triplet.as_str(), "/usr/lib64", "/usr/lib"]
        .map(PathBuf::from)
        .into_iter()
        .find(|folder| folder.is_dir())
}
