//! `reslot run FOLDER`: a host for whatever lies in a folder. It calls nothing, so it is for plugins that do their work from `start` on,
//! and for trying the other verbs out.

use crate::{
    events::show,
    exit::{Exit, Failure},
};
use reslot::{Host, Policy};
use reslot_control::ControlSocket;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{path::PathBuf, sync::mpsc, thread, time::Duration};

/// For printing what was told last, when everything has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(
    after_help = "Signals:\n  SIGHUP           look at the folder again; what was gone back from is not taken\n  SIGTERM, SIGINT  unload everything, and end with 0; a second one ends at once"
)]
pub struct Run {
    /// The folder of built plugins; it may come later
    folder: PathBuf,
    /// Keep the last good versions in this folder, for going back also after a restart
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// How new versions are treated
    #[arg(long, value_enum, default_value_t = How::Development)]
    policy: How,
    /// Print events as JSON, an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum How {
    /// Two seconds of probation
    Development,
    /// Thirty seconds of probation, and each version is tried in a child process first
    Production,
}

impl Run {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let mut builder = Host::builder().watch(&self.folder).track_guards(true);
        builder = builder.policy(match self.policy {
            How::Development => Policy::development(),
            How::Production => Policy::production(),
        });
        if let Some(history) = &self.history {
            builder = builder.history(history);
        }
        if let Some(socket) = socket {
            builder = builder.attach(ControlSocket::at(socket));
        }
        let refused = |error: &dyn std::fmt::Display| Failure::Other(Exit::Refused, error.to_string());
        // Before the host is there: a signal in between must not leave its files.
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| refused(&error))?;
        let host = builder.build().map_err(|error| refused(&error))?;
        let (events, as_json) = (host.events(), self.json);
        let telling = thread::spawn(move || {
            // A host does not end because nobody listens any more.
            for record in events {
                let _ = show(&(&*record).into(), as_json, false);
            }
        });
        for signal in signals.forever() {
            match signal {
                // What was gone back from stays gone; how each file ends is told by events.
                SIGHUP => drop(host.rescan()),
                _ => break,
            }
        }
        // Whoever asks twice does not wait.
        thread::spawn(move || {
            if signals.forever().any(|signal| signal != SIGHUP) {
                std::process::exit(Exit::Done as i32);
            }
        });
        drop(host);
        // What it told last is printed, unless nobody reads it.
        let (told, is_told) = mpsc::channel();
        thread::spawn(move || told.send(telling.join()));
        let _ = is_told.recv_timeout(LAST_WORDS);
        Ok(Exit::Done)
    }
}
