//! `cargo xtask inspect FILE`: a built plugin's manifest, and why a host would refuse the file; nothing in it is executed. Ends
//! with 0 if a host would take the file, 1 if it would refuse it, 2 if it cannot be read.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// A built plugin, such as target/reslot/plugins/libgreeter.so
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let file = std::path::absolute(&arguments.file)?;
    let mut command = example::cargo_on_demo("run");
    command
        .args(["--quiet", "--bin", "inspect", "--"])
        .arg(file)
        .args(arguments.json.then_some("--json"));
    example::become_program(command)
}
