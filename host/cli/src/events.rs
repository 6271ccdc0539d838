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
            let events = client.events(self.since.unwrap_or(0))?;
            events.iter().try_for_each(|event| self.show(event))?;
            return Ok(Exit::Done);
        }
        thread::spawn(watch_output);
        for event in client.follow(self.since)? {
            self.show(&event?)?;
        }
        Ok(Exit::Done)
    }

    fn show(&self, event: &EventMessage) -> Result<(), Failure> {
        show(event, self.json, self.all)
    }
}

/// Prints an event.
pub fn show(event: &EventMessage, as_json: bool, all: bool) -> Result<(), Failure> {
    match as_json {
        true => json_line(event),
        false if event.event == "lifecycle" && !all => Ok(()),
        false => {
            let when = dim(format!("{:>5} {}", event.sequence, time(event.at_ms)));
            line(format!("{when} {}", clean(&event.text).replace('\n', "\n               ")))
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
