//! The program `reslot` inspects and steers running hosts, inspects artifacts, runs a host for a folder of plugins, makes
//! projects and plugins, and builds plugins. This file only dispatches. Each other file has the verbs of one theme; `exit`
//! defines the exit codes, `output` the format of lines.
#![forbid(unsafe_code)]

mod documents;
mod events;
mod exit;
mod inspect;
mod look;
mod output;
mod project;
mod run;
mod socket;
mod steer;
mod top;
mod why_not;

use clap::{Parser, Subcommand};
use exit::{Exit, Failure};
use reslot_project::verbs::{build_plugin, new_plugin, new_project};
use std::{path::PathBuf, process::ExitCode};

/// Make and build plugins, and inspect and steer running hosts.
#[derive(Parser)]
#[command(name = "reslot", version, after_help = exit::in_words())]
pub struct Arguments {
    /// The host's control socket [default: target/reslot/control.sock in this folder or a folder above it]
    #[arg(long, global = true, env = "RESLOT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List the slots of a host and their current generations
    List(look::List),
    /// Load a file, or reload a slot from its file
    Reload(steer::Reload),
    /// Unload a slot without a successor
    Unload(steer::Unload),
    /// Roll a slot back to an earlier version
    Rollback(steer::Rollback),
    /// Confirm the current generation of a slot, which ends its probation
    Confirm(steer::Confirm),
    /// List the versions that a slot can be rolled back to, and those that were rolled back
    History(look::History),
    /// Explain why a slot or a file is not current
    WhyNot(why_not::WhyNot),
    /// Show a host on one screen, with keys to reload, roll back and inspect. When a signal ends it, the exit code is 128
    /// plus the signal's number
    Top(top::Top),
    /// List what holds each generation, and for how long
    WhoHolds(look::WhoHolds),
    /// Compare the images of a host in memory with their artifacts. The exit code is 1 if one of them is damaged
    Verify(look::Verify),
    /// Print past and new events of a host
    Events(events::Events),
    /// Change how much a slot's plugin logs
    LogLevel(steer::LogLevel),
    /// Print the manifest of a built plugin, and why a host would refuse it; no code of the plugin runs
    Inspect(inspect::Inspect),
    /// Run a host for the plugins in a folder
    Run(run::Run),
    /// Make a workspace with an interface, a plugin, and a program that calls it
    NewProject(new_project::Arguments),
    /// Make a plugin with a test in the workspace around the current folder
    NewPlugin(new_plugin::Arguments),
    /// Build the plugins of the workspace around the current folder, and publish them for a running host
    BuildPlugin(build_plugin::Arguments),
    /// Print completions for a shell
    Completions(documents::Completions),
    /// Print the manual page, or write one for each verb into a folder
    Man(documents::Man),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version arrive here, too.
        Err(error) => {
            let ended = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return if error.print().is_err() { Exit::OutputGone } else { ended }.into();
        }
    };
    let socket = arguments.socket;
    let done = match arguments.verb {
        Verb::Top(verb) => return verb.run(socket),
        Verb::NewProject(verb) => return project::run(|caller| new_project::run(caller, verb)),
        Verb::NewPlugin(verb) => return project::run(|caller| new_plugin::run(caller, verb)),
        Verb::BuildPlugin(verb) => return project::run(|caller| build_plugin::run(caller, verb)),
        Verb::List(verb) => verb.run(socket),
        Verb::Reload(verb) => verb.run(socket),
        Verb::Unload(verb) => verb.run(socket),
        Verb::Rollback(verb) => verb.run(socket),
        Verb::Confirm(verb) => verb.run(socket),
        Verb::History(verb) => verb.run(socket),
        Verb::WhyNot(verb) => verb.run(socket),
        Verb::WhoHolds(verb) => verb.run(socket),
        Verb::Verify(verb) => verb.run(socket),
        Verb::Events(verb) => verb.run(socket),
        Verb::LogLevel(verb) => verb.run(socket),
        Verb::Inspect(verb) => verb.run(),
        Verb::Run(verb) => verb.run(socket),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
    };
    done.unwrap_or_else(Failure::print).into()
}
