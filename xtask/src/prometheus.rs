//! `cargo xtask prometheus`: gets a real Prometheus from Debian's packages, without root, and tests metrics, dashboard and alerting
//! rules with it.

use std::process::ExitCode;

use xtask::{Workspace, cargo, debian};

use crate::paint;

pub fn run() -> anyhow::Result<ExitCode> {
    fetch()?;
    let mut command = cargo();
    command
        .current_dir(crate::repository())
        .args(["test", "--locked", "-p", "reslot-tests", "--test", "prometheus"]);
    Ok(match command.status()?.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Sees to it that it is there: the test itself is one of the workspace's.
pub fn fetch() -> anyhow::Result<()> {
    let workspace = Workspace::read(&crate::repository())?;
    let bar = paint::waiting("fetching Prometheus from Debian's packages, unless it is here");
    let found = debian::prometheus(&debian::cache(&workspace));
    drop(bar);
    match found? {
        Some(found) => anstream::println!("{}", found.server.display()),
        None => anstream::println!(
            "{} no Prometheus, as {} asks: nothing is tested with it",
            paint::caution("left out:"),
            debian::PROMETHEUS_FOLDER
        ),
    }
    Ok(())
}
