//! `reslot`: for now, its verb `top` alone.

#![forbid(unsafe_code)]

mod top;

use clap::{Parser, Subcommand, builder::RangedU64ValueParser};
use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

/// Looks at a running host and steers it.
#[derive(Debug, Parser)]
#[command(name = "reslot")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A host on one screen: its slots, their state and rates, the last reloads; keys reload, roll back and inspect.
    ///
    /// Ends with 0 by the key q, with 6 if the terminal goes away or there is none, and with 128 and its number by a signal.
    Top {
        /// The host's control socket.
        #[arg(long, env = "RESLOT_SOCKET", default_value = "target/reslot/control.sock")]
        socket: PathBuf,
        /// Milliseconds from one look at the host to the next.
        #[arg(long, value_name = "MS", default_value = "500", value_parser = RangedU64ValueParser::<u64>::new().range(20..=60_000))]
        interval: u64,
    },
}

fn main() -> ExitCode {
    let Verb::Top { socket, interval } = Arguments::parse().verb;
    let ended = top::run(Arc::new(top::Socket(socket)), Duration::from_millis(interval));
    if let Some(message) = ended.message() {
        // Standard error may have gone with the terminal.
        let _ = writeln!(std::io::stderr(), "{message}");
    }
    ExitCode::from(u8::try_from(ended.code()).unwrap_or(1))
}
