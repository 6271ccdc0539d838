//! The verbs that change something: `reload`, `unload`, `rollback`, `confirm`, `log-level`.

use crate::{
    exit::{Exit, Failure},
    output::{good, json, line, waiting},
    socket::{connect, nonsense, target},
};
use reslot_control::protocol::{Answer, Request};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Reload {
    /// A slot, or a file: a path with a slash in it, such as ./libgreeter.so
    target: String,
    /// Load the file into the slot of this name; the plugin may have another name
    #[arg(long = "as", value_name = "SLOT")]
    slot: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[command(
    after_help = "The slot stays empty until a build is published again; `reslot reload SLOT` loads its file again, \
         without the state. The owner of a claimed slot unloads it in its next `sync`."
)]
pub struct Unload {
    /// The slot
    slot: String,
    /// Unload it even if other plugins call it or its state cannot be saved
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Rollback {
    /// The slot
    slot: String,
    /// The first digits of a version's hash, as `reslot history` shows it [default: the previous version]
    hash: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Confirm {
    /// The slot
    slot: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct LogLevel {
    /// The slot
    slot: String,
    /// The level; `default` is the host's level
    #[arg(value_parser = ["off", "error", "warn", "info", "debug", "trace", "default"])]
    level: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let target = target(&self.target)?;
        let request = match self.slot {
            None => Request::Reload { target },
            Some(slot) if target.contains('/') => Request::LoadAs { file: target, slot },
            Some(_) => {
                let words =
                    format!("{target:?} is a slot, and --as needs a file: write its path with a slash, such as ./{target}");
                return Err(Failure::Other(Exit::Usage, words));
            }
        };
        have_done(socket, request, self.json)
    }
}

impl Unload {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let (slot, force) = (self.slot, self.force);
        have_done(socket, Request::Unload { slot, force }, self.json)
    }
}

impl Rollback {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let (slot, to) = (self.slot, self.hash);
        have_done(socket, Request::Rollback { slot, to }, self.json)
    }
}

impl Confirm {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        have_done(socket, Request::Confirm { slot: self.slot }, self.json)
    }
}

impl LogLevel {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let (slot, level) = (self.slot, Some(self.level).filter(|level| level != "default"));
        have_done(socket, Request::LogLevel { slot, level }, self.json)
    }
}

fn have_done(socket: Option<PathBuf>, request: Request, as_json: bool) -> Result<Exit, Failure> {
    let mut client = connect(socket)?;
    // A preflight, a large state or a busy owner may take seconds.
    let bar = waiting("waiting for the host");
    let answer = client.ask(request);
    drop(bar);
    let answer = answer?;
    let Answer::Done { message, .. } = &answer else {
        return Err(nonsense());
    };
    match as_json {
        true => json(&answer)?,
        false => line(format!("{} {message}", good("done:")))?,
    }
    Ok(Exit::Done)
}
