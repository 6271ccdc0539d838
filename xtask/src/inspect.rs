//! `cargo xtask inspect FILE`: a built plugin's manifest, and why a host would refuse the file; nothing in it is executed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;

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
    ensure!(
        file.is_file(),
        "{} is not a file; `cargo xtask build-plugin` prints where plugins are published",
        arguments.file.display()
    );
    let mut command = example::cargo_on_demo("run");
    command
        .args(["--quiet", "--bin", "inspect", "--"])
        .arg(file)
        .args(arguments.json.then_some("--json"));
    example::become_program(command)
}
