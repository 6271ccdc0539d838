//! `cargo xtask explore` and `cargo xtask simulate`: run the host's own code under schedules that a seed chooses.
//!
//! Both build the package `reslot-explore` with `--cfg reslot_explore`, in a target folder of its own, and run it in one process for each
//! processor. The processes divide the seeds among themselves.

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use xtask::cargo;

use crate::paint;

#[derive(clap::Args)]
pub struct Arguments {
    /// The models to explore; all if none is named
    models: Vec<String>,
    /// How many schedules of each model
    #[arg(long, default_value_t = 10_000)]
    schedules: u64,
    /// Explore for so many minutes instead, divided among the models
    #[arg(long)]
    minutes: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
}

#[derive(clap::Args)]
pub struct Simulation {
    /// Run the program of this seed alone
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut given = arguments.models.clone();
    given.extend(["--from".to_owned(), arguments.from.to_string()]);
    match arguments.minutes {
        Some(minutes) => given.extend(["--minutes".to_owned(), minutes.to_string()]),
        None => given.extend(["--schedules".to_owned(), arguments.schedules.to_string()]),
    }
    Ok(as_code(explore(&given, arguments.schedules == 1)?))
}

pub fn simulate(arguments: Simulation) -> anyhow::Result<ExitCode> {
    let (from, seeds) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.from, arguments.seeds),
    };
    let given = ["simulate", "--from", &from.to_string(), "--schedules", &seeds.to_string()].map(str::to_owned);
    Ok(as_code(explore(&given, arguments.seed.is_some())?))
}

/// What `cargo xtask test` runs.
pub fn passes() -> anyhow::Result<bool> {
    let models = ["--schedules", "20000"].map(str::to_owned);
    let simulation = ["simulate", "--schedules", "1000"].map(str::to_owned);
    Ok(explore(&models, false)? & explore(&simulation, false)?)
}

fn as_code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds the program and runs it with these arguments, alone or in one process for each processor.
fn explore(arguments: &[String], alone: bool) -> anyhow::Result<bool> {
    let target = crate::repository().join("target").join("explore");
    let status = cargo()
        .current_dir(crate::repository())
        .args([
            "build",
            "--package",
            "reslot-explore",
            "--profile",
            "explore",
            "--locked",
            "--target-dir",
        ])
        .arg(&target)
        .env("RUSTFLAGS", "--cfg reslot_explore")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cannot start cargo build for reslot-explore")?;
    ensure!(
        status.success(),
        "reslot-explore does not build with --cfg reslot_explore; the errors are above"
    );
    let program = target.join("explore").join("reslot-explore");
    let parts = match alone {
        true => 1,
        false => std::thread::available_parallelism().map_or(1, usize::from),
    };
    // Each process writes into a file, so that the lines of two do not mix; the first one's are shown as they come.
    let mut running: Vec<(Child, std::path::PathBuf)> = Vec::new();
    for part in 0..parts {
        let output = target.join(format!("part-{part}.txt"));
        let mut command = Command::new(&program);
        command.args(arguments).args(["--part", &format!("{part}/{parts}")]);
        if part > 0 {
            let file = fs::File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
            command.stdout(Stdio::from(file));
        }
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        running.push((child, output));
    }
    let mut passed = true;
    for (part, (mut child, output)) in running.into_iter().enumerate() {
        let status = child.wait().context("cannot wait for reslot-explore")?;
        if !status.success() {
            passed = false;
            if part > 0 {
                anstream::print!("{}", fs::read_to_string(&output).unwrap_or_default());
            }
            paint::failure(&format!("process {part} of {parts} ended with {status}"));
        }
    }
    Ok(passed)
}
