//! `cargo xtask faults [WORDS…]`: each system call of a reload fails once, with each error that is plausible for it; the process is
//! killed after each of them, and stopped in the middle of each. `cargo xtask test` takes a sample of these runs.

use std::process::ExitCode;

use xtask::cargo;

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only runs whose names contain all these words, such as `plain`, `openat`, `ENOSPC`, `SIGKILL`, `SIGSTOP`
    words: Vec<String>,
    /// For how many seconds the process is stopped
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    stop: f64,
    /// Take a sample, as `cargo xtask test` does
    #[arg(long)]
    sample: bool,
    /// Keep the folders of the runs
    #[arg(long)]
    keep: bool,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.current_dir(crate::repository());
    command.args(["test", "--package", "reslot-tests", "--test", "faults", "--"]);
    command.arg(format!("--stop={}", arguments.stop));
    command.args(Some("--all").filter(|_| !arguments.sample));
    command.args(Some("--keep").filter(|_| arguments.keep));
    command.args(arguments.words);
    example::become_program(command)
}
