//! `cargo xtask stress [SECONDS]`: reloads under load for as long as asked, and a count of what was left behind.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// How long
    seconds: Option<u64>,
    /// Handed to the program
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut command = example::cargo_on_demo("run");
    command.args(["--release", "--bin", "stress", "--"]);
    command
        .args(arguments.seconds.map(|seconds| seconds.to_string()))
        .args(arguments.rest);
    example::become_program(command)
}
