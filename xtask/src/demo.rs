//! `cargo xtask demo`: builds what the demo needs, so that its timeline shows reloads and not first compilations, and then
//! starts the demo.

mod arcade;
mod sandbox;

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use xtask::{PluginBuild, Profile, Program, Workspace};

use crate::example;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    which: Option<Which>,
    /// Build host and plugin with optimisations; the first build takes three times as long
    #[arg(long)]
    release: bool,
    /// Arguments for the demo
    #[arg(last = true)]
    rest: Vec<OsString>,
}

#[derive(clap::Subcommand)]
enum Which {
    /// Play a game at sixty frames a second, whose rules are built and reloaded whenever you save them
    Arcade(arcade::Arguments),
    /// Run a trading desk whose strategies and risk model are reloaded while it trades
    Desk {
        /// Print the story as lines, without a screen
        #[arg(long)]
        headless: bool,
        /// Without the story: your saved changes are live at the next event
        #[arg(long, conflicts_with = "headless")]
        live: bool,
    },
    /// Let plugins misbehave in WebAssembly and in processes of their own, and see what the host does about each
    Sandbox,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.which {
        Some(Which::Arcade(arguments)) => return arcade::run(arguments),
        Some(Which::Desk { headless, live }) => return desk(headless, live),
        Some(Which::Sandbox) => return sandbox::run(),
        None => {}
    }
    let workspace = Workspace::read(&crate::repository())?;
    // Debug builds are the default, because the demo is what new users run first.
    let (profile, release) = match arguments.release {
        true => (Profile::Release, Some("--release")),
        false => (Profile::Debug, None),
    };
    PluginBuild::new(&workspace, workspace.plugin("momentum")?, profile).build()?;
    let mut command = example::cargo_on_demo("run");
    command.args(release).args(["--bin", "demo", "--"]).args(arguments.rest);
    example::become_program(command)
}

/// The strategy that is built again on each save.
const SAVED: &str = "desk-momentum";

fn desk(headless: bool, live: bool) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::repository())?;
    let folder = workspace.target.join("reslot").join("desk-saved");
    let manifest = workspace.root.join("Cargo.toml");
    let program = Program {
        release: true,
        ..example::program("reslot-desk", "desk", &manifest)
    };
    let mut command = Command::new(program.build()?);
    command.current_dir(&workspace.root);
    if headless {
        command.arg("--headless");
    } else {
        PluginBuild::new(&workspace, workspace.plugin(SAVED)?, Profile::Release).publish_to(&folder)?;
        command.args(live.then_some("--live"));
        let watch = ["build-plugin", SAVED, "--release", "--watch", "--folder"].map(OsString::from);
        command.arg("--folder").arg(&folder).arg("--");
        command.arg(std::env::current_exe()?).args(watch).arg(&folder);
    }
    example::become_program(command)
}
