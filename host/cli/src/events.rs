//! `reslot events`: what has happened in a host, and with `--follow` what is happening. Whoever follows may wait for days, so it is
//! noticed at once when nobody reads any more, and not only at the next line.

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
    /// Go on with what is still to happen, until the host ends
    #[arg(short, long)]
    follow: bool,
    /// Begin with the event of this number [default: the oldest that is kept; with --follow, the next]
    #[arg(long, value_name = "N")]
    since: Option<u64>,
    /// Also show each generation's moves from one state of its life to the next
    #[arg(long)]
    all: bool,
    /// Print JSON, an object a line, of all events
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

/// Ends the program when the reader of a pipe, or the terminal, is gone.
fn watch_output() {
    let out = std::io::stdout();
    loop {
        let mut one = [PollFd::new(&out, PollFlags::empty())];
        if poll(&mut one, None).is_ok() && !one[0].revents().is_empty() {
            std::process::exit(Exit::OutputGone as i32);
        }
    }
}
