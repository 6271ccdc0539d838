//! `reslot top`: a running host on one screen. `model` is what is known, `draw` puts it on a screen, `keys` reads what was typed,
//! `watcher` asks the host, `source` says what there is to ask, `terminal` is the terminal and the signals, and `run` is the loop that
//! joins them. Nothing here knows more of a host than `reslot_control::protocol` says.

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
    /// Milliseconds from one look at the host to the next
    #[arg(long, value_name = "MS", default_value = "500", value_parser = RangedU64ValueParser::<u64>::new().range(20..=60_000))]
    interval: u64,
}

impl Top {
    /// A host that is not there yet, or not any more, is waited for on the screen; only where no socket was named and none is found, it
    /// is not known which.
    pub fn run(self, named: Option<PathBuf>) -> ExitCode {
        let socket = match socket::find(named) {
            Ok(socket) => socket,
            Err(failure) => return Failure::tell(failure).into(),
        };
        let ended = run::run(Arc::new(source::Socket(socket)), Duration::from_millis(self.interval));
        if let Some(message) = ended.message() {
            // Standard error may have gone with the terminal.
            let _ = writeln!(std::io::stderr(), "{message}");
        }
        u8::try_from(ended.code()).map_or(Exit::Refused.into(), ExitCode::from)
    }
}
