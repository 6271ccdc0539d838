//! `cargo xtask bench [GROUP…]`: the benchmarks of tests/bench, where a group is a bench target.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use anyhow::Context;
use xtask::{BENCH_GROUPS, Workspace, cargo};

#[derive(clap::Args)]
pub struct Arguments {
    /// What to measure; everything if none is named: `call`, `reload` (rename to first new answer), `save` (saving an edit
    /// to first new answer), `storm` (how callers are affected by swaps), `growth` (a reload with more threads, slots and
    /// generations), `memory` (resident bytes per generation), `allocators` (the plugins' allocators), `state` (the pause of
    /// a hand-over, by the state's size), `rollback` (panic to first answer of the old code), `logs` (the cost of logging in
    /// a plugin), `desk` (how a trading desk is affected by a thousand reloads),
    /// `scrub` (what comparing images with their artifacts costs), `engines` (a call behind each engine)
    #[arg(value_parser = BENCH_GROUPS)]
    groups: Vec<String>,
    /// Measure only Reslot, without the other systems, which take minutes to build
    #[arg(long)]
    without_peers: bool,
    /// Afterwards, write the table of promises into docs/costs.md
    #[arg(long)]
    readme: bool,
    /// Arguments for the benchmark
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let named = BENCH_GROUPS
        .iter()
        .filter(|group| arguments.groups.is_empty() || arguments.groups.iter().any(|named| named == *group));
    let mut all_good = true;
    for group in named {
        let mut command = cargo();
        command
            .current_dir(crate::repository())
            .args(["bench", "--package", "reslot-bench", "--bench", group]);
        if !arguments.without_peers {
            command.args(["--features", "peers"]);
        }
        command.arg("--").args(&arguments.rest);
        let status = command
            .status()
            .with_context(|| format!("cannot start cargo bench for {group}"))?;
        all_good &= status.success();
    }
    if arguments.readme && all_good {
        quote()?;
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first table of the report is between these lines of docs/costs.md.
const BEGIN: &str = "<!-- cargo xtask bench --readme writes from here -->\n";
const END: &str = "<!-- to here -->\n";

fn quote() -> anyhow::Result<()> {
    let root = crate::repository();
    let report = Workspace::read(&root)?.target.join("bench").join("report.md");
    let report = fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    let table = report.split("\n## ").next().unwrap_or_default();
    let path = root.join("docs").join("costs.md");
    let page = fs::read_to_string(&path).context("cannot read docs/costs.md")?;
    let (before, rest) = page.split_once(BEGIN).context("docs/costs.md has no place for the table")?;
    let (_, after) = rest
        .split_once(END)
        .context("docs/costs.md has no end of the table's place")?;
    fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).context("cannot write docs/costs.md")?;
    anstream::println!("docs/costs.md has the new table");
    Ok(())
}
