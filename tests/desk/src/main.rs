//! `desk`: the story of the desk, and what is saved, on a screen; or with `--headless` the story as lines, and latencies with and without
//! reloads. Ends with 0 only if every claim in it holds.
#![forbid(unsafe_code)]

use anyhow::{Context, bail};
use reslot::{Host, Policy};
use reslot_desk::{
    desk::{Desk, RISK},
    input::recorded,
    measure::{Feed, Size, measure},
    show::{Screen, Show, said},
    story::{Stage, tell},
    terminal::{Left, Terminal, code},
    workshop::Builds,
};
use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};
use xtask::Building;

#[derive(Default)]
struct Arguments {
    headless: bool,
    live: bool,
    /// Where a strategy is published that is built on each save.
    folder: Option<PathBuf>,
    /// What builds it: a program and its arguments.
    builder: Vec<OsString>,
}

impl Arguments {
    fn read() -> anyhow::Result<Self> {
        let mut read = Self::default();
        let mut words = std::env::args_os().skip(1);
        while let Some(word) = words.next() {
            match word.to_str() {
                Some("--headless") => read.headless = true,
                Some("--live") => read.live = true,
                Some("--folder") => read.folder = Some(words.next().context("--folder needs a folder")?.into()),
                Some("--") => read.builder = words.by_ref().collect(),
                _ => bail!(
                    "{} is not known: there are --headless, --live, --folder DIR and -- BUILDER",
                    word.display()
                ),
            }
        }
        read.headless |= !io::stdout().is_terminal() || !io::stdin().is_terminal();
        Ok(read)
    }
}

fn main() -> ExitCode {
    match Arguments::read().and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => match error.downcast_ref::<Left>() {
            Some(left) => u8::try_from(code(*left)).map_or(ExitCode::FAILURE, ExitCode::from),
            None => {
                // Who listens may be gone.
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(arguments: Arguments) -> anyhow::Result<bool> {
    println!("The desk's builds are made first …");
    let builds = Builds::make()?;
    // As long as the story lasts, there is a way back.
    let mut policy = Policy::development();
    policy.probation = Duration::from_secs(600);
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
    if arguments.headless {
        tell(&host, &mut desk, &builds, &mut show)?;
        drop(desk);
        drop(host);
        measured(&builds, &mut show)?;
        return Ok(show.claims.iter().all(|(_, holds)| *holds));
    }
    let mut building = None;
    if let Some((program, rest)) = arguments.builder.split_first() {
        let child = Building::start({
            let mut command = Command::new(program);
            command.args(rest);
            command
        });
        building = Some(child.with_context(|| format!("cannot start {}", program.display()))?);
    }
    let terminal = Terminal::take().context("the terminal cannot be used")?;
    show.screen = Some(Screen { terminal, building });
    let told = match arguments.live {
        true => Ok(()),
        false => tell(&host, &mut desk, &builds, &mut show),
    };
    let claims = show.claims.clone();
    let ended = match told {
        Err(error) if error.downcast_ref() != Some(&Left::Live) => Err(error),
        _ => show.live(&mut desk),
    };
    show.screen = None;
    let Err(error) = ended else { return Ok(true) };
    if error.downcast_ref() == Some(&Left::Gone) {
        return Err(error);
    }
    for (claim, holds) in &claims {
        println!("{}", said(claim, *holds));
    }
    println!("\n{}", desk.latency);
    match error.downcast_ref() {
        Some(Left::End(0)) => Ok(claims.iter().all(|(_, holds)| *holds)),
        _ => Err(error),
    }
}

/// Latencies with and without reloads, in one run.
fn measured(builds: &Builds, show: &mut Show) -> anyhow::Result<()> {
    let host = Host::builder().policy(Policy::without_probation()).build()?;
    for build in ["maker", "momentum", "risk"] {
        host.load(builds.path(build))?;
    }
    let mut desk = Desk::open(&host, recorded()?)?;
    let (maker, twin) = (builds.path("maker"), builds.path("maker-twin"));
    // The second is done with a row a hundred times as fast.
    for (feed, rows) in [(Feed::Every(Duration::from_micros(100)), 500), (Feed::BackToBack, 20_000)] {
        let size = Size { blocks: 120, rows };
        let came = measure(&host, &mut desk, [&maker, &twin], feed, size)?;
        println!("\n{came}");
        println!(
            "not claimed: p99.9 and above, and how late a row is taken up. Builds are prepared on this machine's processors, and the \
             kernel maps them into this process; where others work too, both change from run to run"
        );
        if feed != Feed::BackToBack {
            show.claim(
                "with reloads an event takes no longer: p50 within one and a half times, p99 within twice",
                came.ratio(0.5) < 1.5 && came.ratio(0.99) < 2.0,
            );
        }
    }
    Ok(())
}
