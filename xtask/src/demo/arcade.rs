//! `cargo xtask demo arcade`: builds the rules, then starts the game, which builds them again at each save.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use xtask::{PluginBuild, Profile, Workspace};

use crate::example;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// Arguments for the game; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    game: Vec<OsString>,
}

pub fn run(Arguments { game }: Arguments) -> anyhow::Result<ExitCode> {
    let has = |name: &str| {
        game.iter()
            .filter_map(|word| word.to_str())
            .any(|word| word.split('=').next() == Some(name))
    };
    let rules = if has("--life") { "life" } else { "arcade" };
    let workspace = Workspace::read(&crate::repository())?;
    let folder = workspace.target.join("reslot").join("demo").join(rules);
    // The game starts in the current folder, because paths among its arguments are the caller's.
    let manifest = workspace.root.join("Cargo.toml");
    let mut command = Command::new(example::program("reslot-arcade", "arcade", &manifest).build()?);
    if has("--help") || has("-h") {
        command.arg("--help");
        return example::become_program(command);
    }
    PluginBuild::new(&workspace, workspace.plugin(rules)?, Profile::Debug).publish_to(&folder)?;
    command.arg("--folder").arg(&folder).args(&game);
    if !has("--headless") {
        let watch = ["build-plugin", rules, "--watch", "--folder"].map(OsString::from);
        command.arg("--").arg(env::current_exe()?).args(watch).arg(&folder);
    }
    example::become_program(command)
}
