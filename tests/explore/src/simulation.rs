//! A random program for each seed: operations on one host, with faults, callers beside it, restarts and kills. `expected` has what must be
//! true after each step; a program that fails is shortened before it is printed.

mod callers;
mod expected;
mod program;
mod steps;

use crate::{MOST_STEPS, artifacts, world};
use program::Program;
use reslot_sync::{Exploration, Failure, explore, explore_until};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Runs the programs of these seeds, each in a folder of its own.
///
/// # Errors
/// If something is not as it must be.
pub fn simulate(seeds: impl Iterator<Item = u64> + 'static) -> Result<Exploration, Failure> {
    explore(seeds, MOST_STEPS, |seed| {
        world::begin();
        let program = Program::of(seed);
        let folder = artifacts::fresh_folder();
        if let Some(step) = program.killed_at {
            kill(seed, step, &folder);
        }
        steps::run(&program, &folder);
        artifacts::remove(&folder);
    })
}

fn run(program: &Program, folder: &Path) -> Result<Exploration, Failure> {
    let (program, folder) = (program.clone(), folder.to_owned());
    explore(std::iter::once(program.seed), MOST_STEPS, move |_| {
        world::begin();
        steps::run(&program, &folder);
    })
}

/// Runs the program in a process of its own, which ends at this step as if it were killed. The folder is left as it is then.
fn kill(seed: u64, step: usize, folder: &Path) {
    let (seed, step) = (seed.to_string(), step.to_string());
    let program = std::env::current_exe().unwrap_or_else(|error| panic!("no path to this program: {error}"));
    let output = Command::new(program)
        .args(["simulate", "--from", &seed, "--kill", &step, "--folder"])
        .arg(folder)
        .output();
    let output = output.unwrap_or_else(|error| panic!("cannot start the process that is killed: {error}"));
    if !matches!(output.status.code(), Some(KILLED | 0)) {
        let words = String::from_utf8_lossy(&output.stdout);
        panic!("the process that is killed at point {step} failed before: {words}");
    }
}

/// The exit code of a process that ended at its step.
pub const KILLED: i32 = 99;

/// What the process that is killed does.
pub fn run_until(seed: u64, step: usize, folder: PathBuf) -> Result<Exploration, Failure> {
    let program = Program::of(seed);
    let end = || {
        artifacts::clean_up();
        std::process::exit(KILLED)
    };
    explore_until(seed, step, end, move |_| {
        world::begin();
        steps::run(&program, &folder);
    })
}

/// Runs a program that is given as JSON.
///
/// # Errors
/// If something is not as it must be.
pub fn run_given(program: &str, folder: &Path) -> Result<Exploration, Failure> {
    let failed = |message: String| Failure {
        seed: 0,
        before: 0,
        steps: 0,
        message,
    };
    let program: Program = serde_json::from_str(program).map_err(|error| failed(error.to_string()))?;
    run(&program, folder)
}

/// The shortest program that was found to fail as well, and how it fails. Each try is a process of its own, because threads of a failed
/// execution stay where they are.
pub fn shorten(seed: u64, folder: &dyn Fn() -> PathBuf) -> Option<(String, String)> {
    let mut program = Program::of(seed);
    program.killed_at = None;
    let mut failure = fails(&program, &folder())?;
    let mut length = program.steps.len();
    while length > 0 {
        let mut at = 0;
        while at < program.steps.len() {
            let shorter = program.without(at, length);
            match fails(&shorter, &folder()) {
                Some(again) => (program, failure) = (shorter, again),
                None => at += length,
            }
        }
        length /= 2;
    }
    Some((failure, program.to_string()))
}

/// The program of a seed, in words.
#[must_use]
pub fn describe(seed: u64) -> String {
    Program::of(seed).to_string()
}

/// What the program's process says if it fails.
fn fails(program: &Program, folder: &Path) -> Option<String> {
    let given = serde_json::to_string(program).ok()?;
    let output = Command::new(std::env::current_exe().ok()?)
        .args(["simulate", "--program", &given, "--folder"])
        .arg(folder)
        .output()
        .ok()?;
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
