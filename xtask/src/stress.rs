//! `cargo xtask stress [SECONDS | --reloads N]`: reloads under load and counts leaks.
//! `cargo xtask stress chaos [SECONDS] [--seed N]`: calls and changes slots at random and counts lost calls.
//! `cargo xtask stress unload`: tests each cell of the table in docs/unloading.md.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::example;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// The duration in seconds [default: 30]
    seconds: Option<u64>,
    /// The number of reloads, instead of a duration
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1_000..))]
    reloads: Option<u64>,
    /// Arguments for the program
    #[arg(last = true)]
    rest: Vec<OsString>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    /// Reload, roll back, confirm, configure and load sets at random under callers, and check that no call is lost
    Chaos {
        /// The duration in seconds [default: 180]
        seconds: Option<u64>,
        /// Repeat the run that printed this number, as far as the scheduler allows
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Test the promises of docs/unloading.md, each cell of its table in its own process
    Unload {
        /// Test plugins of this profile only, instead of all three
        #[arg(long, value_parser = ["debug", "release", "shipped"])]
        profile: Option<String>,
        /// Test only behaviours whose names contain these words
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
