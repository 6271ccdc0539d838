//! `watch-folder FOLDER [SOCKET]`: an example host in a terminal, which `reslot` can steer from another one through the
//! socket. It prints what happens to the plugins in the folder, and calls them after each swap, to show which code runs.
//! Ctrl-C or SIGTERM ends it.

#![forbid(unsafe_code)]

mod caller;
mod questions;

use anyhow::Context;
use caller::Callers;
use questions::Questions;
use reslot::{Event, Host, Outcome, control::ControlSocket};
use reslot_demo::{
    telling,
    words::{bad, dim, heading},
};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often a desk feeds a price to its strategy, and calls `sync`.
const ROUND: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(folder), socket, None) = (arguments.next(), arguments.next(), arguments.next()) else {
        anstream::eprintln!(
            "usage: watch-folder FOLDER [SOCKET]    `cargo xtask run` names the folder that `cargo xtask build-plugin` fills"
        );
        return ExitCode::from(2);
    };
    match run(&PathBuf::from(folder), socket.map(PathBuf::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("{} {error:#}", bad("error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, socket: Option<PathBuf>) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)).context("Ctrl-C could not be caught")?;

    // This host is for exploration, so guards are tracked in spite of the cost.
    let mut builder = Host::builder().watch(folder).track_guards(true);
    if let Some(socket) = socket {
        builder = builder.attach(ControlSocket::at(socket));
    }
    let host = builder.build()?;
    anstream::println!("{} {}", heading("Watching"), std::path::absolute(folder)?.display());
    anstream::println!(
        "{}",
        dim(
            "Build a plugin into it from another terminal: cargo xtask build-plugin greeter. Type help to see the commands \
                 here, or use the other terminal: cargo xtask list. Ctrl-C ends this.\n"
        )
    );
    let mut events = host.events();
    let mut screen = Screen::default();
    let mut callers = Callers::default();
    // All plugins that existed at the start have been reported now.
    while let Some(record) = events.try_recv() {
        screen.show(&record.event);
        callers.after(&host, &record.event);
    }
    if host.slots().is_empty() {
        anstream::println!("No plugin is loaded yet.");
    }
    let questions = Questions::listen();
    while !stop.load(Ordering::Relaxed) && !questions.answer(&host) {
        if let Some(record) = events.recv_timeout(ROUND) {
            screen.show(&record.event);
            callers.after(&host, &record.event);
        }
        callers.round();
    }

    anstream::println!("\n{}", heading("Ending"));
    drop(callers);
    drop(host);
    for record in events {
        screen.show(&record.event);
    }
    screen.last_line();
    Ok(())
}

/// The printed events.
#[derive(Default)]
struct Screen {
    last: String,
    backtraces: telling::Backtraces,
    repeated: u64,
    loaded: u64,
    gone: u64,
    kept: u64,
}

impl Screen {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Swapped(_) => self.loaded += 1,
            Event::Retired(report) => match report.outcome {
                Outcome::Unmapped(_) => self.gone += 1,
                _ => self.kept += 1,
            },
            Event::Released { .. } => {
                self.kept -= 1;
                self.gone += 1;
            }
            _ => {}
        }
        let Some(text) = telling::in_words(event) else { return };
        // Repeated lines are counted, because a plugin that fails in each call would fill the screen.
        if text == self.last {
            self.repeated += 1;
            return;
        }
        self.told_again();
        anstream::println!("{text}");
        if let Some(backtrace) = self.backtraces.under(event) {
            anstream::println!("{backtrace}");
        }
        self.last = text;
    }

    fn told_again(&mut self) {
        match std::mem::take(&mut self.repeated) {
            0 => {}
            1 => anstream::println!("{}", dim("(the same again)")),
            times => anstream::println!("{}", dim(format!("(the same again, {times} times)"))),
        }
    }

    fn last_line(&mut self) {
        self.told_again();
        let Self { loaded, gone, kept, .. } = self;
        let kept = match kept {
            0 => "nothing of them is mapped any more".to_owned(),
            kept => format!("{kept} could not be unloaded, for the reason(s) above"),
        };
        anstream::println!("Ended: {loaded} generation(s) served, {gone} proven unmapped; {kept}.");
    }
}
