//! `cargo xtask VERB`: everything that is done to this repository, one file a verb; this one only dispatches.

mod bench;
mod cli;
mod compare;
mod demo;
mod example;
mod foreign;
mod imports;
mod package;
mod prometheus;
mod published;
mod run;
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
    /// Make a workspace of your own: an interface, a plugin, and a program that calls it
    NewProject(new_project::Arguments),
    /// Make a plugin that builds, with a test
    NewPlugin(new_plugin::Arguments),
    /// Build plugins and publish them where a running host picks them up
    BuildPlugin(build_plugin::Arguments),
    /// Start the example host on the plugin folder
    Run(run::Arguments),
    /// Watch a running host move from one build of a plugin to the next, and print the timeline
    Demo(demo::Arguments),
    /// Print the manifest of a built plugin, and why a host would refuse the file
    Inspect(cli::Arguments),
    /// The slots of the running host, and what serves in each
    List(cli::Arguments),
    /// Have the running host load a file, or the file again from which a slot serves
    Reload(cli::Arguments),
    /// Have a slot of the running host go back to an earlier version
    Rollback(cli::Arguments),
    /// End the probation of what serves in a slot of the running host
    Confirm(cli::Arguments),
    /// The versions that a slot of the running host can go back to
    History(cli::Arguments),
    /// Why something does not serve in the running host
    WhyNot(cli::Arguments),
    /// Who keeps which generation in the running host
    WhoHolds(cli::Arguments),
    /// What has happened in the running host, and what is happening
    Events(cli::Arguments),
    /// Change how much a slot's plugin logs in the running host
    LogLevel(cli::Arguments),
    /// The running host at a glance, again and again
    Top(cli::Arguments),
    /// Open and close libraries that nobody here wrote, and tell what keeps those that stay
    Foreign(foreign::Arguments),
    /// Compare what our plugins import with the list of what is known to be harmless
    Imports,
    /// Test metrics, dashboard and alerting rules with a real Prometheus
    Prometheus,
    /// Run every check that a change must pass
    Test(test::Arguments),
    /// Package the crates that users depend on, as a registry gets them
    Package(package::Arguments),
    /// Check what rustfmt and clippy do not: how files open, what they are called, what they may not contain
    Tidy,
    /// Measure the cost of calls
    Bench(bench::Arguments),
    /// Reload thousands of times under load, and look for anything left behind; `stress unload` tries what is unloaded
    Stress(stress::Arguments),
    /// Measure how another system behaves in the same situation
    Compare(compare::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::NewProject(arguments) => new_project::run(&caller(), arguments),
        Verb::NewPlugin(arguments) => new_plugin::run(&caller(), arguments),
        Verb::BuildPlugin(arguments) => build_plugin::run(&caller(), arguments),
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
        Verb::Bench(arguments) => bench::run(arguments),
        Verb::Stress(arguments) => stress::run(arguments),
        Verb::Compare(arguments) => compare::run(arguments),
    };
    done.unwrap_or_else(|error| {
        paint::failure(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// What the verbs of [`reslot_project`] are told of this program.
fn caller() -> Caller {
    Caller {
        command: "cargo xtask",
        crates: Crates::Clone(repository()),
    }
}

/// The repository: as `cargo run` names it now, or else as it was when this program was built.
fn repository() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), PathBuf::from)
}
