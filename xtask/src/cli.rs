//! The verbs of `reslot` for a running host (`list`, `reload`, `who-holds`, …), and `inspect`. This builds the program and
//! passes the command line on. Without `--socket` the verbs use the host of `cargo xtask run`.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use xtask::Workspace;

use crate::example;

/// The arguments that are passed on unchanged.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Arguments of `reslot`; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// The control socket of `cargo xtask run`.
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

/// A verb of `reslot`. The program is built if necessary.
///
/// # Errors
/// If the build fails.
pub fn reslot(verb: &str) -> anyhow::Result<Command> {
    let manifest = crate::repository().join("Cargo.toml");
    let program = example::program("reslot-cli", "reslot", &manifest);
    let mut command = Command::new(program.build()?);
    command.arg(verb);
    Ok(command)
}
