//! `cargo xtask demo`: builds what the demo needs, so that its timeline shows reloads and not first compilations, then becomes it.

use std::ffi::OsString;
use std::process::ExitCode;

use xtask::{PluginBuild, Profile, Workspace};

use crate::example;

#[derive(clap::Args)]
pub struct Arguments {
    /// Handed to the demo
    #[arg(last = true)]
    rest: Vec<OsString>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::repository())?;
    PluginBuild::new(&workspace, workspace.plugin("momentum")?, Profile::Release).build()?;
    let mut command = example::cargo_on_demo("run");
    command.args(["--release", "--bin", "demo", "--"]).args(arguments.rest);
    example::become_program(command)
}
