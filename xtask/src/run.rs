//! `cargo xtask run`: the example host on the plugin folder, in this terminal.

use std::path::PathBuf;
use std::process::ExitCode;

use xtask::Workspace;

use crate::{cli, example};

#[derive(clap::Args)]
pub struct Arguments {
    /// Build the host with optimisations
    #[arg(long)]
    release: bool,
    /// Watch this folder instead of target/reslot/plugins
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::caller().workspace()?)?;
    let folder = match arguments.folder {
        Some(folder) => std::path::absolute(folder)?,
        None => workspace.plugin_folder(),
    };
    let mut command = example::cargo_on_demo("run");
    command
        .args(arguments.release.then_some("--release"))
        .args(["--bin", "watch-folder", "--"])
        .arg(folder)
        .arg(cli::socket(&workspace));
    example::become_program(command)
}
