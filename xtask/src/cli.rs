//! The verbs of `reslot` that speak to a running host (`list`, `reload`, `who-holds`, …), and `inspect`: built here,
//! and given everything that stands on the command line. Without `--socket` they ask the host that `cargo xtask run` started.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use xtask::Workspace;

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
    workspace.meeting_folder().join("control.sock")
}

pub fn run(verb: &str, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::caller().workspace()?)?;
    let mut command = reslot(verb)?;
    command.args(arguments.arguments);
    if env::var_os("RESLOT_SOCKET").is_none() {
        command.env("RESLOT_SOCKET", socket(&workspace));
    }
    example::become_program(command)
}

/// A verb of `reslot`, built if need be.
///
/// # Errors
/// If the program is not built.
pub fn reslot(verb: &str) -> anyhow::Result<Command> {
    let manifest = crate::repository().join("Cargo.toml");
    let program = example::program("reslot-cli", "reslot", &manifest);
    let mut command = Command::new(program.build()?);
    command.arg(verb);
    Ok(command)
}
