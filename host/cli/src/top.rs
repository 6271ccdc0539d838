//! `reslot top`: a running host on one screen. `model` holds the data, `draw` draws it, `keys` reads the keyboard, `watcher`
//! sends requests to the host, `source` defines the connection, `terminal` handles the terminal and signals, and `run` is
//! the main loop. All data comes through `reslot_control::protocol`.

mod draw;
mod keys;
mod model;
mod run;
#[cfg(test)]
mod samples;
mod source;
mod terminal;
mod text;
mod watcher;

use crate::{
    exit::{Exit, Failure},
    socket,
};
use clap::builder::RangedU64ValueParser;
use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

#[derive(clap::Args)]
pub struct Top {
    /// Milliseconds between two requests to the host
    #[arg(long, value_name = "MS", default_value = "500", value_parser = RangedU64ValueParser::<u64>::new().range(20..=60_000))]
    interval: u64,
}

impl Top {
    /// The screen waits for a host that is not running. It is an error only if no socket was named and none is found.
    pub fn run(self, named: Option<PathBuf>) -> ExitCode {
        let socket = match socket::find(named) {
            Ok(socket) => socket,
            Err(failure) => return Failure::print(failure).into(),
        };
        let ended = run::run(Arc::new(source::Socket(socket)), Duration::from_millis(self.interval));
        if let Some(message) = ended.message() {
            // Standard error may be closed together with the terminal.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
        u8::try_from(ended.code()).map_or(Exit::Refused.into(), ExitCode::from)
    }
}
