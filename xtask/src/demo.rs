//! `cargo xtask demo`: builds what the demo needs, so that its timeline shows reloads and not first compilations, then becomes it.

mod arcade;

use std::ffi::OsString;
use std::process::ExitCode;

use xtask::{PluginBuild, Profile, Workspace, cargo};

use crate::example;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
    /// Handed to the demo
    #[arg(last = true)]
    rest: Vec<OsString>,
}

#[derive(clap::Subcommand)]
enum Which {
    /// A game at sixty frames a second, whose rules are built and swapped whenever you save them
    Arcade(arcade::Arguments),
    /// A trading desk whose strategies and risk model are exchanged while it trades
    Desk {
        /// Tell the story as lines, without a screen
        #[arg(long)]
        headless: bool,
    },
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.which {
        Some(Which::Arcade(arguments)) => return arcade::run(arguments),
        Some(Which::Desk { headless }) => return desk(headless),
        None => {}
    }
    let workspace = Workspace::read(&crate::repository())?;
    PluginBuild::new(&workspace, workspace.plugin("momentum")?, Profile::Release).build()?;
    let mut command = example::cargo_on_demo("run");
    command.args(["--release", "--bin", "demo", "--"]).args(arguments.rest);
    example::become_program(command)
}

fn desk(headless: bool) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.current_dir(crate::repository());
    command.args(["run", "--release", "--package", "reslot-desk", "--bin", "desk", "--"]);
    command.args(headless.then_some("--headless"));
    example::become_program(command)
}
