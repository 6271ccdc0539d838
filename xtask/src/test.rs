//! `cargo xtask test`: every check that a change must pass, with the fastest checks first.
//!
//! All checks run even if one fails, unless `--fail-fast` is given. It ends with a table of what ran, how long the slowest
//! test programs took, and for each failure the command that repeats it alone.

use std::io::{BufRead, BufReader, IsTerminal};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use xtask::cargo;

use crate::{explore, imports, package, paint, prometheus, tidy};

#[derive(clap::Args)]
pub struct Arguments {
    /// Skip the check of the documentation
    #[arg(long)]
    quick: bool,
    /// Stop at the first check that fails
    #[arg(long)]
    fail_fast: bool,
}

struct Step {
    name: &'static str,
    /// The command that repeats it.
    by_hand: &'static str,
    check: Check,
}

enum Check {
    /// Arguments to cargo, and variables for it.
    Cargo(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// Like `Cargo`, but measures the time of each program that cargo runs.
    TimedCargo(&'static [&'static str]),
    Tidy,
    Explore,
    Imports,
    Package,
    Prometheus,
}

const FORMAT: Step = Step {
    name: "format",
    by_hand: "cargo fmt --all (that also repairs it)",
    check: Check::Cargo(&["fmt", "--all", "--check"], &[]),
};
const LINTS: Step = Step {
    name: "lints",
    by_hand: "cargo clippy --workspace --all-targets -- -D warnings",
    check: Check::Cargo(
        &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
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
    by_hand: "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --features reslot/config,reslot/prometheus,reslot/stream",
    check: Check::Cargo(
        &[
            "doc",
            "--workspace",
            "--no-deps",
            "--features",
            "reslot/config,reslot/prometheus,reslot/stream",
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
/// This step is before the tests, because one of them builds a project from the packaged crates.
const PACKAGE: Step = Step {
    name: "package",
    by_hand: "cargo xtask package",
    check: Check::Package,
};
/// This step is before the tests, because one of them needs Prometheus. So errors of the download are reported separately.
const PROMETHEUS: Step = Step {
    name: "prometheus",
    by_hand: "cargo xtask prometheus (that also runs its test)",
    check: Check::Prometheus,
};
const MODELS: Step = Step {
    name: "models",
    by_hand: "cargo xtask explore --schedules 20000 && cargo xtask simulate",
    check: Check::Explore,
};
const TESTS: Step = Step {
    name: "tests",
    by_hand: "cargo test --workspace --no-fail-fast",
    check: Check::TimedCargo(&["test", "--workspace", "--locked", "--no-fail-fast"]),
};

/// The number of slow test programs in the summary.
const SLOWEST: usize = 10;

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

/// The result of one check.
struct Checked {
    passed: bool,
    /// The programs that it ran, with their times.
    programs: Vec<(String, Duration)>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let steps = [
        FORMAT,
        LINTS,
        ALONE,
        DOCUMENTATION,
        TIDY,
        IMPORTS,
        PACKAGE,
        PROMETHEUS,
        MODELS,
        TESTS,
    ];
    let steps: Vec<Step> = steps
        .into_iter()
        .filter(|step| !(arguments.quick && step.name == DOCUMENTATION.name))
        .collect();
    let mut results: Vec<(Outcome, Duration)> = Vec::new();
    let mut programs = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        anstream::println!(
            "\n{}",
            paint::heading(format!("── {} ({} of {}): {}", step.name, at + 1, steps.len(), step.by_hand))
        );
        let started = Instant::now();
        let checked = step.check.run().unwrap_or_else(|error| {
            paint::failure(&format!("{error:#}"));
            Checked::without_programs(false)
        });
        let took = started.elapsed();
        programs.extend(checked.programs);
        results.push((if checked.passed { Outcome::Passed } else { Outcome::Failed }, took));
        match checked.passed {
            true => anstream::println!("{} {} in {}", paint::good("passed:"), step.name, paint::seconds(took)),
            false => anstream::println!("{} {} after {}", paint::bad("FAILED:"), step.name, paint::seconds(took)),
        }
        if !checked.passed && arguments.fail_fast {
            break;
        }
    }
    results.resize(steps.len(), (Outcome::NotRun, Duration::ZERO));
    Ok(summarise(&steps, &results, programs))
}

fn summarise(steps: &[Step], results: &[(Outcome, Duration)], mut programs: Vec<(String, Duration)>) -> ExitCode {
    programs.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
    if !programs.is_empty() {
        anstream::println!("\n{}", paint::heading("── the slowest test programs"));
    }
    for (program, took) in programs.iter().take(SLOWEST) {
        anstream::println!("  {:>8}  {program}", paint::seconds(*took));
    }
    anstream::println!("\n{}", paint::heading("── summary"));
    for (step, (outcome, took)) in steps.iter().zip(results) {
        let (name, took) = (step.name, paint::seconds(*took));
        match outcome {
            Outcome::Passed => anstream::println!("  {name:<14} {:<8} {took:>8}", paint::good("passed  ")),
            Outcome::Failed => anstream::println!("  {name:<14} {:<8} {took:>8}", paint::bad("FAILED  ")),
            Outcome::NotRun => anstream::println!("  {name:<14} {}", paint::dim("not run")),
        }
    }
    let total = results.iter().map(|(_, took)| *took).sum();
    let has_failed = |(_, (outcome, _)): &(&Step, &(Outcome, Duration))| *outcome == Outcome::Failed;
    let failed: Vec<_> = steps.iter().zip(results).filter(has_failed).collect();
    for (step, _) in &failed {
        paint::failure(&format!(
            "{} failed; the reason is printed above. To repeat it: {}",
            step.name, step.by_hand
        ));
    }
    if failed.is_empty() {
        anstream::println!("{} in {}", paint::good("everything passed"), paint::seconds(total));
        return ExitCode::SUCCESS;
    }
    anstream::println!(
        "{} of {} checks failed, in {}",
        failed.len(),
        steps.len(),
        paint::seconds(total)
    );
    ExitCode::FAILURE
}

impl Check {
    fn run(&self) -> anyhow::Result<Checked> {
        let passed = match self {
            Check::Cargo(arguments, variables) => {
                let mut command = repository_cargo(arguments);
                let status = command.envs(variables.iter().copied()).status();
                status.with_context(|| cannot_start(arguments))?.success()
            }
            Check::TimedCargo(arguments) => return timed(arguments),
            Check::Tidy => tidy::passes(&crate::repository())?,
            Check::Explore => explore::passes()?,
            Check::Imports => imports::passes()?,
            Check::Package => package::passes()?,
            Check::Prometheus => prometheus::fetch().map(|()| true)?,
        };
        Ok(Checked::without_programs(passed))
    }
}

impl Checked {
    fn without_programs(passed: bool) -> Self {
        Self {
            passed,
            programs: Vec::new(),
        }
    }
}

fn repository_cargo(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.current_dir(crate::repository()).args(arguments);
    command
}

fn cannot_start(arguments: &[&str]) -> String {
    format!("cannot start cargo {}", arguments.join(" "))
}

/// Runs cargo, prints its output, and measures the time between the lines that announce programs.
fn timed(arguments: &[&str]) -> anyhow::Result<Checked> {
    let mut command = repository_cargo(arguments);
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot_start(arguments))?;
    let mut programs: Vec<(String, Duration)> = Vec::new();
    let mut running: Option<(String, Instant)> = None;
    let mut end = |running: &mut Option<(String, Instant)>| {
        programs.extend(running.take().map(|(program, since)| (program, since.elapsed())));
    };
    let lines = child
        .stderr
        .take()
        .into_iter()
        .flat_map(|stderr| BufReader::new(stderr).lines());
    for line in lines.map_while(Result::ok) {
        eprintln!("{line}");
        if let Some(program) = announced(&anstream::adapter::strip_str(&line).to_string()) {
            end(&mut running);
            running = Some((program, Instant::now()));
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    end(&mut running);
    Ok(Checked {
        passed: status.success(),
        programs,
    })
}

/// The program that a line of cargo's output announces:
/// `Running tests/soak/main.rs (target/debug/deps/soak-0123456789abcdef)`, `Doc-tests reslot`.
fn announced(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(format!("examples in the documentation of {package}"));
    }
    let (source, file) = line.strip_prefix("Running ")?.split_once(" (")?;
    let file = file.strip_suffix(')')?.rsplit('/').next()?;
    let (name, _) = file.rsplit_once('-')?;
    Some(format!("{name}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::announced;

    #[test]
    fn programs_are_named_by_cargos_messages() {
        let of = |line| announced(line);
        assert_eq!(
            of("     Running soak/main.rs (target/debug/deps/soak-8aa22e8a8e5d85f1)").as_deref(),
            Some("soak: soak/main.rs")
        );
        assert_eq!(
            of("     Running unittests src/lib.rs (target/debug/deps/reslot_tests-8aa22e8a8e5d85f1)").as_deref(),
            Some("reslot_tests: unittests src/lib.rs")
        );
        assert_eq!(
            of("   Doc-tests reslot").as_deref(),
            Some("examples in the documentation of reslot")
        );
        assert_eq!(of("   Compiling reslot v0.1.0 (/w/host)"), None);
        assert_eq!(of("test result: ok. 3 passed"), None);
    }
}
