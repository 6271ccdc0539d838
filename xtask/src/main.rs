//! `cargo xtask VERB`: the verbs of this repository, one file per verb. This file only dispatches.

mod bench;
mod cli;
mod compare;
mod demo;
mod example;
mod explore;
mod faults;
mod foreign;
mod fuzz;
mod imports;
mod package;
mod prometheus;
mod published;
mod run;
mod sanitize;
mod stress;
mod test;
mod tidy;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use reslot_project::verbs::{Caller, Crates, build_plugin, new_plugin, new_project, paint};

/// The verbs of the Reslot repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a workspace with an interface, a plugin, and a program that calls it
    NewProject(new_project::Arguments),
    /// Make a plugin with a test
    NewPlugin(new_plugin::Arguments),
    /// Build plugins and publish them for a running host
    BuildPlugin(build_plugin::Arguments),
    /// Start the example host on the plugin folder
    Run(run::Arguments),
    /// Watch a host reload a plugin, and print the timeline
    Demo(demo::Arguments),
    /// Print the manifest of a built plugin, and why a host would refuse the file
    Inspect(cli::Arguments),
    /// List the slots of the running host and their current generations
    List(cli::Arguments),
    /// Load a file in the running host, or reload a slot from its file
    Reload(cli::Arguments),
    /// Roll a slot of the running host back to an earlier version
    Rollback(cli::Arguments),
    /// Confirm the current generation of a slot, which ends its probation
    Confirm(cli::Arguments),
    /// List the versions that a slot can be rolled back to
    History(cli::Arguments),
    /// Explain why a slot or a file is not current
    WhyNot(cli::Arguments),
    /// List what holds each generation
    WhoHolds(cli::Arguments),
    /// Print past and new events of the running host
    Events(cli::Arguments),
    /// Change how much a slot's plugin logs
    LogLevel(cli::Arguments),
    /// Show the running host on one screen
    Top(cli::Arguments),
    /// Open and close foreign libraries, and report what keeps those that stay mapped
    Foreign(foreign::Arguments),
    /// Compare the imports of this repository's plugins with the list of harmless symbols
    Imports,
    /// Test metrics, dashboard and alerting rules with a real Prometheus
    Prometheus,
    /// Run every check that a change must pass
    Test(test::Arguments),
    /// Package the crates for users, as for a registry
    Package(package::Arguments),
    /// Check rules that rustfmt and clippy do not know: how files begin, their names, forbidden content
    Tidy,
    /// Feed made-up input to whatever parses bytes from outside, and keep what fails
    Fuzz(fuzz::Arguments),
    /// Measure the cost of calls
    Bench(bench::Arguments),
    /// Reload thousands of times under load, and look for leaks; `stress unload` tests which behaviours of plugins can be
    /// unloaded
    Stress(stress::Arguments),
    /// Run models of the host's concurrent parts under many schedules, each of which a seed repeats
    Explore(explore::Arguments),
    /// Run random programs against the whole runtime, with faults, a virtual clock and a schedule that the seed chooses
    Simulate(explore::Simulation),
    /// Let each system call of a reload fail, kill the process after it, and stop the process in it
    Faults(faults::Arguments),
    /// Run the soak and the unload matrix under a sanitizer, valgrind or Miri
    Sanitize(sanitize::Arguments),
    /// Measure how another system behaves in the same situation
    Compare(compare::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::NewProject(arguments) => new_project::run(&caller(), arguments),
        Verb::NewPlugin(arguments) => new_plugin::run(&caller(), arguments),
        Verb::BuildPlugin(arguments) => {
            build_plugin::run_with(&caller(), arguments, |workspace| Ok(xtask::wasm::toolchain(workspace)?))
        }
        Verb::Run(arguments) => run::run(arguments),
        Verb::Demo(arguments) => demo::run(arguments),
        Verb::Inspect(arguments) => cli::run("inspect", arguments),
        Verb::List(arguments) => cli::run("list", arguments),
        Verb::Reload(arguments) => cli::run("reload", arguments),
        Verb::Rollback(arguments) => cli::run("rollback", arguments),
        Verb::Confirm(arguments) => cli::run("confirm", arguments),
        Verb::History(arguments) => cli::run("history", arguments),
        Verb::WhyNot(arguments) => cli::run("why-not", arguments),
        Verb::WhoHolds(arguments) => cli::run("who-holds", arguments),
        Verb::Events(arguments) => cli::run("events", arguments),
        Verb::LogLevel(arguments) => cli::run("log-level", arguments),
        Verb::Top(arguments) => cli::run("top", arguments),
        Verb::Foreign(arguments) => foreign::run(arguments),
        Verb::Imports => imports::run(),
        Verb::Prometheus => prometheus::run(),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Package(arguments) => package::run(arguments),
        Verb::Tidy => tidy::run(),
        Verb::Fuzz(arguments) => fuzz::run(arguments),
        Verb::Bench(arguments) => bench::run(arguments),
        Verb::Stress(arguments) => stress::run(arguments),
        Verb::Explore(arguments) => explore::run(arguments),
        Verb::Simulate(arguments) => explore::simulate(arguments),
        Verb::Faults(arguments) => faults::run(arguments),
        Verb::Sanitize(arguments) => sanitize::run(arguments),
        Verb::Compare(arguments) => compare::run(arguments),
    };
    done.unwrap_or_else(|error| {
        paint::failure(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Describes this program to the verbs of [`reslot_project`].
fn caller() -> Caller {
    Caller {
        command: "cargo xtask",
        crates: Crates::Clone(repository()),
    }
}

/// The repository: the one that `cargo run` names, or else the one in which this program was built.
fn repository() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), PathBuf::from)
}
