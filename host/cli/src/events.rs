//! `reslot events`: past events of a host, and with `--follow` new ones. A follower may wait for days, so the program
//! notices at once when its output is closed, and not only at the next line.

use crate::{
    exit::{Exit, Failure},
    output::{clean, dim, json_line, line, time},
    socket::connect,
};
use reslot_control::protocol::EventMessage;
use rustix::event::{PollFd, PollFlags, poll};
use std::{path::PathBuf, thread};

#[derive(clap::Args)]
pub struct Events {
    /// Continue with new events, until the host ends
    #[arg(short, long)]
    follow: bool,
    /// Begin with the event of this number [default: the oldest that the host keeps; with --follow, the next one]
    #[arg(long, value_name = "N")]
    since: Option<u64>,
    /// Also show each generation's moves through its lifecycle
    #[arg(long)]
    all: bool,
    /// Print all events as JSON, one object per line
    #[arg(long)]
    json: bool,
}

impl Events {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let mut client = connect(socket)?;
        if !self.follow {
            let told = client.events(self.since.unwrap_or(0))?;
            told.iter().try_for_each(|told| self.show(told))?;
            return Ok(Exit::Done);
        }
        thread::spawn(watch_output);
        for told in client.follow(self.since)? {
            self.show(&told?)?;
        }
        Ok(Exit::Done)
    }

    fn show(&self, told: &EventMessage) -> Result<(), Failure> {
        show(told, self.json, self.all)
    }
}

/// Prints an event.
pub fn show(told: &EventMessage, as_json: bool, all: bool) -> Result<(), Failure> {
    match as_json {
        true => json_line(told),
        false if told.event == "lifecycle" && !all => Ok(()),
        false => {
            let when = dim(format!("{:>5} {}", told.sequence, time(told.at_ms)));
            line(format!("{when} {}", clean(&told.text).replace('\n', "\n               ")))
        }
    }
}

/// Ends the program when its pipe or terminal is closed.
fn watch_output() {
    let out = std::io::stdout();
    loop {
        let mut one = [PollFd::new(&out, PollFlags::empty())];
        if poll(&mut one, None).is_ok() && !one[0].revents().is_empty() {
            std::process::exit(Exit::OutputGone as i32);
        }
    }
}
