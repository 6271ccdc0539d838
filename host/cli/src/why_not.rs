//! `reslot why-not TARGET`: why a slot or a file is not current.

use crate::{
    exit::{Exit, Failure},
    output::{bad, clean, dim, good, json, line},
    socket::{connect, nonsense, target},
};
use reslot_control::protocol::{Answer, Request};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct WhyNot {
    /// A slot, or a file: a path with a slash in it, such as ./libgreeter.so
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl WhyNot {
    pub fn run(self, socket: Option<PathBuf>) -> Result<Exit, Failure> {
        let target = target(&self.target)?;
        let Answer::WhyNot(reason) = connect(socket)?.ask(Request::WhyNot { target })? else {
            return Err(nonsense());
        };
        if self.json {
            json(&reason)?;
            return Ok(Exit::Done);
        }
        match reason.serves {
            true => line(format!("{} {}", good("serves:"), clean(&reason.summary)))?,
            false => line(format!("{} {}", bad("not current:"), clean(&reason.summary)))?,
        }
        for finding in &reason.findings {
            line(format!("- {}", clean(finding).replace('\n', "\n  ")))?;
        }
        for remedy in &reason.remedies {
            line(format!("  {} {}", dim("what to do:"), clean(remedy)))?;
        }
        Ok(Exit::Done)
    }
}
