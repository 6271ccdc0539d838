//! `cargo xtask test`: every check that a change must pass, in the order in which failures are cheapest to learn of.
//!
//! It stops at the first failure, names it and the command that repeats it alone, and ends with a table of what ran.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context;
use xtask::cargo;

use crate::{imports, paint, prometheus, tidy};

#[derive(clap::Args)]
pub struct Arguments {
    /// Leave out the check of the documentation
    #[arg(long)]
    quick: bool,
}

struct Step {
    name: &'static str,
    /// What repeats it by hand.
    by_hand: &'static str,
    check: Check,
}

enum Check {
    /// Arguments to cargo, and variables for it.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    Tidy,
    Imports,
    Prometheus,
}

const FORMAT: Step = Step {
    name: "format",
    by_hand: "cargo fmt --all (that also repairs it)",
    check: Check::Cargo(&["fmt", "--all", "--check"], &[]),
};
const LINTS: Step = Step {
    name: "lints",
    by_hand: "cargo clippy --workspace --all-targets --features reslot/cli -- -D warnings",
    check: Check::Cargo(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "reslot/cli",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    ),
};
const ALONE: Step = Step {
    name: "host alone",
    by_hand: "cargo clippy --package reslot -- -D warnings",
    check: Check::Cargo(&["clippy", "--package", "reslot", "--locked", "--", "-D", "warnings"], &[]),
};
const DOCUMENTATION: Step = Step {
    name: "documentation",
    by_hand: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --features reslot/config,reslot/prometheus",
    check: Check::Cargo(
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--features",
            "reslot/config,reslot/prometheus",
            "--locked",
        ],
        &[("RUSTDOCFLAGS", "-D warnings")],
    ),
};
const TIDY: Step = Step {
    name: "tidy",
    by_hand: "cargo xtask tidy",
    check: Check::Tidy,
};
const IMPORTS: Step = Step {
    name: "imports",
    by_hand: "cargo xtask imports",
    check: Check::Imports,
};
/// Before the tests, one of which needs it: what is wrong with the download is told here, by itself.
const PROMETHEUS: Step = Step {
    name: "prometheus",
    by_hand: "cargo xtask prometheus (that also runs its test)",
    check: Check::Prometheus,
};
const TESTS: Step = Step {
    name: "tests",
    by_hand: "cargo test --workspace --features reslot/cli",
    check: Check::Cargo(&["test", "--workspace", "--features", "reslot/cli", "--locked"], &[]),
};

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let steps = [FORMAT, LINTS, ALONE, DOCUMENTATION, TIDY, IMPORTS, PROMETHEUS, TESTS];
    let steps: Vec<Step> = steps
        .into_iter()
        .filter(|step| !(arguments.quick && step.name == DOCUMENTATION.name))
        .collect();
    let mut results: Vec<(Outcome, Duration)> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        anstream::println!(
            "\n{}",
            paint::heading(format!("── {} ({} of {}): {}", step.name, at + 1, steps.len(), step.by_hand))
        );
        let started = Instant::now();
        let passed = step.check.passes()?;
        let took = started.elapsed();
        results.push((if passed { Outcome::Passed } else { Outcome::Failed }, took));
        if !passed {
            break;
        }
        anstream::println!("{} {} in {}", paint::good("passed:"), step.name, paint::seconds(took));
    }

    results.resize(steps.len(), (Outcome::NotRun, Duration::ZERO));
    anstream::println!("\n{}", paint::heading("── summary"));
    for (step, (outcome, took)) in steps.iter().zip(&results) {
        match outcome {
            Outcome::Passed => anstream::println!(
                "  {:<14} {:<8} {:>8}",
                step.name,
                paint::good("passed  "),
                paint::seconds(*took)
            ),
            Outcome::Failed => anstream::println!(
                "  {:<14} {:<8} {:>8}",
                step.name,
                paint::bad("FAILED  "),
                paint::seconds(*took)
            ),
            Outcome::NotRun => anstream::println!("  {:<14} {}", step.name, paint::dim("not run")),
        }
    }
    match steps
        .iter()
        .zip(&results)
        .find(|(_, (outcome, _))| *outcome == Outcome::Failed)
    {
        Some((failed, _)) => {
            paint::failure(&format!(
                "{} failed; what is wrong stands above. Repeat it alone: {}",
                failed.name, failed.by_hand
            ));
            Ok(ExitCode::FAILURE)
        }
        None => {
            let total = results.iter().map(|(_, took)| *took).sum();
            anstream::println!("{} in {}", paint::good("everything passed"), paint::seconds(total));
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Check {
    fn passes(&self) -> anyhow::Result<bool> {
        match self {
            Check::Cargo(arguments, variables) => {
                let mut command: Command = cargo();
                command
                    .current_dir(crate::repository())
                    .args(*arguments)
                    .envs(variables.iter().copied());
                let status = command
                    .status()
                    .with_context(|| format!("cannot start cargo {}", arguments.join(" ")))?;
                Ok(status.success())
            }
            Check::Tidy => tidy::passes(&crate::repository()),
            Check::Imports => imports::passes(),
            Check::Prometheus => match prometheus::fetch() {
                Ok(()) => Ok(true),
                Err(error) => {
                    paint::failure(&format!("{error:#}"));
                    Ok(false)
                }
            },
        }
    }
}
