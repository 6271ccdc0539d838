//! `cargo xtask stress [SECONDS | --reloads N]`: reloads under load for as long as asked, and a count of what was left behind.
//! `cargo xtask stress chaos [SECONDS] [--seed N]`: slots that are called and moved at random, and a count of what was lost.
//! `cargo xtask stress unload`: what becomes of a plugin's code, tried for each cell of the table in docs/unloading.md.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::example;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// How long; 30 if nothing is said
    seconds: Option<u64>,
    /// How many reloads, however long they take
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1_000..))]
    reloads: Option<u64>,
    /// Handed to the program
    #[arg(last = true)]
    rest: Vec<OsString>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Reload, roll back, confirm, configure and load sets at random under callers, and look whether a call was lost
    Chaos {
        /// How long; 180 if nothing is said
        seconds: Option<u64>,
        /// Do the same as a run that told this number, as far as threads can
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Try what docs/unloading.md promises, each cell of its table in a process of its own
    Unload {
        /// Try plugins of this build only, instead of all three
        #[arg(long, value_parser = ["debug", "release", "shipped"])]
        profile: Option<String>,
        /// Try the behaviours with these words in their names only
        words: Option<String>,
    },
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut command = example::cargo_on_demo("run");
    command.args(["--release", "--bin", "stress", "--"]);
    match arguments.what {
        None => command
            .args(arguments.seconds.map(|seconds| seconds.to_string()))
            .args(arguments.reloads.map(|reloads| format!("--reloads={reloads}"))),
        Some(What::Chaos { seconds, seed }) => command
            .arg("chaos")
            .args(seconds.map(|seconds| seconds.to_string()))
            .args(seed.map(|seed| format!("--seed={seed}"))),
        Some(What::Unload { profile, words }) => command
            .arg("unload")
            .args(profile.iter().flat_map(|profile| ["--profile", profile]))
            .args(words),
    };
    command.args(arguments.rest);
    example::become_program(command)
}
