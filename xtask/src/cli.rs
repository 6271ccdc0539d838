//! The verbs of `reslot` that speak to a running host (`list`, `reload`, `who-holds`, …), and `inspect`: built here with the feature `cli`,
//! and given everything that stands on the command line. Without `--socket` they ask the host that `cargo xtask run` started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use xtask::{Workspace, cargo};

use crate::example;

/// What is passed on as it stands.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Those of `reslot`; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Where `cargo xtask run` opens its control socket.
pub fn socket(workspace: &Workspace) -> PathBuf {
    let plugins = workspace.plugin_folder();
    plugins.parent().unwrap_or(Path::new("target/reslot")).join("control.sock")
}

pub fn run(verb: &str, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::project()?)?;
    let mut command = reslot(verb);
    command.args(arguments.arguments);
    if env::var_os("RESLOT_SOCKET").is_none() {
        command.env("RESLOT_SOCKET", socket(&workspace));
    }
    example::become_program(command)
}

/// A verb of `reslot`, built if need be. Not in the repository's folder: paths on the command line are the caller's.
pub fn reslot(verb: &str) -> Command {
    let mut command = cargo();
    command
        .args(["run", "--quiet", "--manifest-path"])
        .arg(crate::repository().join("Cargo.toml"))
        .args(["--package", "reslot", "--features", "cli", "--bin", "reslot", "--", verb]);
    command
}
