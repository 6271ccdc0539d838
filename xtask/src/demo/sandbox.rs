//! `cargo xtask demo sandbox`: builds one plugin for two engines, and starts the program that lets it misbehave.

use std::process::{Command, ExitCode};

use anyhow::Context;
use xtask::{PluginBuild, Profile, Workspace};

use crate::example;

/// The plugin that misbehaves on demand.
const PLUGIN: &str = "fx-sandboxed";

pub fn run() -> anyhow::Result<ExitCode> {
    let workspace = Workspace::read(&crate::repository())?;
    let toolchain = xtask::wasm::toolchain(&workspace)?;
    let package = workspace.loadable(PLUGIN).context("the fixture is a member")?;
    let build = || PluginBuild::new(&workspace, package, Profile::Release);
    let module = build().for_wasm(&workspace, toolchain).build()?.library;
    let library = build().build()?.library;
    let manifest = workspace.root.join("Cargo.toml");
    let child = example::program("reslot-process", "reslot-child", &manifest).build()?;
    let mut demo = Command::new(example::program("reslot-sandbox-demo", "sandbox", &manifest).build()?);
    demo.arg(module).arg(library).arg(child);
    example::become_program(demo)
}
