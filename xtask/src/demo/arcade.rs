//! `cargo xtask demo arcade`: builds the rules, then becomes the game, which has them built again at each save.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use xtask::{PluginBuild, Profile, Workspace, cargo};

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// Play Conway's Life from this pattern file, in run-length encoding
    #[arg(long, value_name = "FILE.rle")]
    life: Option<PathBuf>,
    /// Without a terminal: play, tell in numbers, and end
    #[arg(long)]
    headless: bool,
    /// How many ticks, if headless
    #[arg(long, default_value_t = 600)]
    ticks: u64,
    /// Where to write pictures to, if headless
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::repository())?;
    let folder = workspace.target.join("reslot").join("arcade");
    let rules = if arguments.life.is_some() { "life" } else { "arcade" };
    PluginBuild::new(&workspace, workspace.plugin(rules)?, Profile::Debug).publish_to(&folder)?;

    let mut command = cargo();
    command.current_dir(crate::repository());
    command.args([
        "run",
        "--quiet",
        "--package",
        "reslot-arcade",
        "--bin",
        "arcade",
        "--",
        "--folder",
    ]);
    command.arg(&folder);
    // The game runs in the repository's folder.
    for (name, path) in [("--life", &arguments.life), ("--frames", &arguments.frames)] {
        if let Some(path) = path {
            command.arg(name).arg(std::path::absolute(path)?);
        }
    }
    command.args(["--ticks", &arguments.ticks.to_string()]);
    if arguments.headless {
        command.arg("--headless");
    } else {
        let builder = env::current_exe()?;
        let watch = ["build-plugin", rules, "--watch", "--folder"].map(OsString::from);
        command.arg("--").arg(builder).args(watch).arg(&folder);
    }
    example::become_program(command)
}
