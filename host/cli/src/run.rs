//! `reslot run FOLDER`: a host for the plugins in a folder. It calls none of their methods, so it is for plugins that work
//! from `start` on, and for trying the other verbs.

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

/// How long to wait for the last events to be printed.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(
    after_help = "Signals:\n  SIGHUP           scan the folder again; versions that were rolled back are not loaded\n  \
         SIGTERM, SIGINT  unload everything, and end with 0; a second signal ends at once"
)]
pub struct Run {
    /// The folder of built plugins; it may be created later
    folder: PathBuf,
    /// Keep the last good versions in this folder, so that a rollback is possible after a restart
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// The policy for new versions
    #[arg(long, value_enum, default_value_t = How::Development)]
    policy: How,
    /// Print events as JSON, one object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum How {
    /// Two seconds of probation
    Development,
    /// Thirty seconds of probation, and a preflight in a child process
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
        // Signals are caught before the host exists, so that no signal can leave its files behind.
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| refused(&error))?;
        let host = builder.build().map_err(|error| refused(&error))?;
        let (events, as_json) = (host.events(), self.json);
        let telling = thread::spawn(move || {
            // The host does not end if its output is closed.
            for record in events {
                let _ = show(&(&*record).into(), as_json, false);
            }
        });
        for signal in signals.forever() {
            match signal {
                // Versions that were rolled back are not loaded again. Events report the result for each file.
                SIGHUP => drop(host.rescan()),
                _ => break,
            }
        }
        // A second signal ends the program without waiting.
        thread::spawn(move || {
            if signals.forever().any(|signal| signal != SIGHUP) {
                std::process::exit(Exit::Done as i32);
            }
        });
        drop(host);
        // The last events are printed, unless the output is blocked.
        let (ended, has_ended) = mpsc::channel();
        thread::spawn(move || ended.send(telling.join()));
        let _ = has_ended.recv_timeout(LAST_WORDS);
        Ok(Exit::Done)
    }
}
