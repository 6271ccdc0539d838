//! `cargo xtask bench [GROUP]`: the benchmarks of tests/demo, where a group is a bench target.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// What to measure: `call`, `memory` (the plugins' allocators), `reload` (rename to first new answer), `rollback` (panic to first
    /// answer of the old code), `save` (saving an edit to first new answer), `state` (the pause of a hand-over, by the state's
    /// size) or `storm` (what callers notice of swaps)
    #[arg(default_value = "call")]
    group: String,
    /// Handed to the benchmark
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut command = example::cargo_on_demo("bench");
    command.args(["--bench", &arguments.group, "--"]).args(arguments.rest);
    example::become_program(command)
}
