//! The program `reslot` inspects and steers running hosts, inspects artifacts, runs a host for a folder of plugins, and makes projects and plugins
//! and builds them. This file only dispatches. Each other file has the verbs of one theme; `exit` defines the exit codes, `output` the format of lines.
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

/// Make plugins and build them, look at running hosts, and steer them.
#[derive(Parser)]
#[command(name = "reslot", version, after_help = exit::in_words())]
pub struct Arguments {
    /// The host's control socket [default: target/reslot/control.sock of this folder or of one above it]
    #[arg(long, global = true, env = "RESLOT_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// The slots of a host, and what serves in each
    List(look::List),
    /// Load a file, or the file again from which a slot serves
    Reload(steer::Reload),
    /// Unload what serves in a slot, without a successor
    Unload(steer::Unload),
    /// Have a slot go back to an earlier version
    Rollback(steer::Rollback),
    /// End the probation of what serves in a slot: it is good
    Confirm(steer::Confirm),
    /// The versions of a slot that can be gone back to, and those that were gone back from
    History(look::History),
    /// Why a slot does not have what it should have, or a file does not serve
    WhyNot(why_not::WhyNot),
    /// A host on one screen, with keys to reload, roll back and inspect. By a signal it ends with 128 and the signal's number
    Top(top::Top),
    /// Who keeps which generation, and for how long
    WhoHolds(look::WhoHolds),
    /// What has happened in a host, and what is happening
    Events(events::Events),
    /// Change how much a slot's plugin logs
    LogLevel(steer::LogLevel),
    /// What a built plugin says of itself, and why a host would refuse it; nothing in it is executed
    Inspect(inspect::Inspect),
    /// Be a host for the plugins in a folder, whatever they are
    Run(run::Run),
    /// Make a workspace of your own: an interface, a plugin, and a program that calls it
    NewProject(new_project::Arguments),
    /// Make a plugin that builds, with a test, in the workspace around the current folder
    NewPlugin(new_plugin::Arguments),
    /// Build the plugins of the workspace around the current folder, and publish them where a running host picks them up
    BuildPlugin(build_plugin::Arguments),
    /// Print a shell's completions
    Completions(documents::Completions),
    /// Print the manual page, or write one for each verb into a folder
    Man(documents::Man),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and the version come this way, too.
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
        Verb::Events(verb) => verb.run(socket),
        Verb::LogLevel(verb) => verb.run(socket),
        Verb::Inspect(verb) => verb.run(),
        Verb::Run(verb) => verb.run(socket),
        Verb::Completions(verb) => verb.run(),
        Verb::Man(verb) => verb.run(),
    };
    done.unwrap_or_else(Failure::tell).into()
}
