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

/// Downloads Prometheus if necessary. The test itself is part of the workspace's tests.
pub fn fetch() -> anyhow::Result<()> {
    let workspace = Workspace::read(&crate::repository())?;
    let bar = paint::waiting("fetching Prometheus from Debian's packages, if necessary");
    let found = debian::prometheus(&debian::cache(&workspace));
    drop(bar);
    match found? {
        Some(found) => anstream::println!("{}", found.server.display()),
        None => anstream::println!(
            "{} Prometheus is switched off by {}, so nothing is tested with it",
            paint::caution("skipped:"),
            debian::PROMETHEUS_FOLDER
        ),
    }
    Ok(())
}
