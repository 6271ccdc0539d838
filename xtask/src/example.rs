//! Starts the programs in tests/demo. This process becomes cargo, so that signals, the terminal and the exit status belong
//! to the program.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;
use xtask::{Program, cargo};

/// `cargo SUBCOMMAND -p reslot-demo`, at the repository's root.
pub fn cargo_on_demo(subcommand: &str) -> Command {
    let mut command = cargo();
    command
        .current_dir(crate::repository())
        .args([subcommand, "--package", "reslot-demo"]);
    command
}

/// A program of the repository, built without optimisations.
pub fn program<'a>(package: &'a str, name: &'a str, manifest: &'a Path) -> Program<'a> {
    Program {
        manifest,
        package,
        name,
        release: false,
    }
}

/// Becomes `command`. It returns only if the command cannot be started.
#[cfg(unix)]
pub fn become_program(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Runs `command` and passes its exit status on.
#[cfg(not(unix))]
pub fn become_program(mut command: Command) -> anyhow::Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}
