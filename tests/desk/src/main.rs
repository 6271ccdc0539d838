//! `desk`: the story of the desk, on a screen, or with `--headless` as lines. Ends with 0 only if every claim in it holds.
#![forbid(unsafe_code)]

use ratatui::{DefaultTerminal, crossterm::event};
use reslot::{Host, Policy};
use reslot_desk::{
    desk::Desk,
    input::recorded,
    screen::draw,
    story::{Stage, tell},
    workshop::Builds,
};
use std::{io::IsTerminal, process::ExitCode, time::Duration};

/// A stage without a screen, or with one.
#[derive(Default)]
struct Show {
    terminal: Option<DefaultTerminal>,
    claims: Vec<(String, bool)>,
    told: usize,
}

/// So many rows are played between two pictures.
const ROWS_A_PICTURE: usize = 60;

impl Stage for Show {
    fn play(&mut self, desk: &mut Desk<'_>, title: &str, rows: usize) -> anyhow::Result<()> {
        let mut left = rows;
        let mut more = true;
        while left > 0 && more {
            let now = left.min(ROWS_A_PICTURE);
            more = (0..now).all(|_| desk.step());
            left -= now;
            if let Some(terminal) = &mut self.terminal {
                terminal.draw(|frame| draw(frame, desk, title))?;
                if event::poll(Duration::from_millis(16))?
                    && let event::Event::Key(key) = event::read()?
                    && matches!(key.code, event::KeyCode::Char('q' | 'c') | event::KeyCode::Esc)
                {
                    anyhow::bail!("left by key");
                }
            }
        }
        if self.terminal.is_none() {
            for line in &desk.timeline[self.told..] {
                println!("  {line}");
            }
            self.told = desk.timeline.len();
        }
        Ok(())
    }

    fn claim(&mut self, claim: &str, holds: bool) {
        if self.terminal.is_none() {
            println!("{} {claim}", if holds { "holds:" } else { "DOES NOT HOLD:" });
        }
        self.claims.push((claim.to_owned(), holds));
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let headless = std::env::args().any(|argument| argument == "--headless") || !std::io::stdout().is_terminal();
    println!("The desk's builds are made first …");
    let builds = Builds::make()?;
    // As long as the story lasts, there is a way back.
    let mut policy = Policy::development();
    policy.probation = Duration::from_secs(600);
    let host = Host::builder().policy(policy).build()?;
    for build in ["maker", "momentum", "risk"] {
        host.load(builds.path(build))?;
    }
    let mut desk = Desk::open(&host, recorded()?)?;
    let mut show = Show::default();
    if !headless {
        show.terminal = Some(ratatui::init());
    }
    let told = tell(&host, &mut desk, &builds, &mut show);
    if show.terminal.take().is_some() {
        ratatui::restore();
        for (claim, holds) in &show.claims {
            println!("{} {claim}", if *holds { "holds:" } else { "DOES NOT HOLD:" });
        }
    }
    told?;
    println!("\n{}", desk.latency);
    Ok(show.claims.iter().all(|(_, holds)| *holds))
}
