//! `desk`: shows the story of the desk and then the live part on a screen; with `--headless` it prints the story as lines.
//! The exit status is 0 only if every claim holds.
#![forbid(unsafe_code)]

use anyhow::Context;
use clap::Parser;
use reslot::{Host, Policy};
use reslot_desk::{
    desk::{Desk, RISK},
    input::recorded,
    screen::said,
    show::{Live, Screen, Show},
    story::tell,
    variants::Builds,
};
use reslot_terminal::{End, Terminal};
use std::{
    ffi::OsString,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use xtask::Building;

/// A trading desk whose strategies are exchanged while it trades
#[derive(Parser)]
struct Arguments {
    /// Tell the story as lines, without a screen
    #[arg(long)]
    headless: bool,
    /// Without the story: what you save is live at the next event
    #[arg(long, conflicts_with = "headless")]
    live: bool,
    /// Where a strategy is published that is built on each save
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// What builds it: a program and its arguments
    #[arg(last = true)]
    builder: Vec<OsString>,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        // The reader of stderr may be gone.
        let _ = writeln!(io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    println!("The desk's builds are made first …");
    let builds = Builds::make()?;
    // The probation lasts longer than the story, so a rollback is possible throughout.
    let policy = Policy::development().probation(Duration::from_secs(600));
    let mut host = Host::builder().policy(policy);
    if let Some(folder) = &arguments.folder {
        host = host.watch(folder);
    }
    let host = host.build()?;
    for (slot, build) in [("desk-maker", "maker"), ("desk-momentum", "momentum"), (RISK, "risk")] {
        if host.slots().iter().all(|info| *info.name != *slot) {
            host.load(builds.path(build))?;
        }
    }
    let mut desk = Desk::open(&host, recorded()?)?;
    let mut show = Show::default();
    if arguments.headless || !reslot_terminal::is_there() {
        tell(&mut show, &mut desk, &builds)?;
        println!(
            "\n{}\nMeasured against the same desk without reloads: cargo xtask bench desk",
            desk.latency
        );
        return Ok(held(&show));
    }

    let building = Building::of(&arguments.builder)?;
    let end_building = building.as_ref().map(Building::ender);
    let at_last = || end_building.into_iter().for_each(|end| end());
    let terminal = Terminal::take(at_last).context("the terminal cannot be used")?;
    show.screen = Some(Screen { terminal, building });
    let told = match arguments.live {
        true => Ok(()),
        false => tell(&mut show, &mut desk, &builds),
    };
    let ended = match told {
        Err(error) if !error.is::<Live>() => error,
        _ => {
            let Err(error) = show.live(&mut desk);
            error
        }
    };
    show.screen = None;
    let end: End = ended.downcast()?;
    if end == End::HUNG_UP {
        return Ok(ExitCode::from(end.code));
    }
    for (claim, holds) in &show.claims {
        println!("{}", said(claim, *holds));
    }
    println!("\n{}", desk.latency);
    match end.code {
        0 => Ok(held(&show)),
        code => Ok(ExitCode::from(code)),
    }
}

fn held(show: &Show) -> ExitCode {
    let broken = show.claims.iter().any(|(_, holds)| !holds);
    ExitCode::from(u8::from(broken))
}
