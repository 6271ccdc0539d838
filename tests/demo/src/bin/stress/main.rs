//! `cargo xtask stress [SECONDS | --reloads N]`, `cargo xtask stress chaos [SECONDS] [--seed N]` and
//! `cargo xtask stress unload [--profile PROFILE] [WORDS]`: the storm of reloads, random operations on slots, and the matrix
//! of unloading. Each has its own file; this one only dispatches.
#![forbid(unsafe_code)]

mod chaos;
mod storm;
mod unload;

use std::process::ExitCode;
use storm::Length;

const USAGE: &str = "usage: cargo xtask stress [SECONDS | --reloads N]\n       cargo xtask stress chaos [SECONDS] [--seed N]\n       cargo xtask stress unload [--profile debug|release|shipped] [WORDS]";

fn main() -> ExitCode {
    // The matrix starts this program again for each of its cells.
    if let Some(cell) = reslot_tests::matrix::run_if_cell() {
        return cell;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
        [] => Some(storm::run(Length::Seconds(30))),
        ["chaos", rest @ ..] => chaos::run(rest),
        ["unload", rest @ ..] => unload::run(rest),
        [length] => match length.strip_prefix("--reloads=") {
            Some(reloads) => reloads.parse().ok().map(Length::Reloads).map(storm::run),
            None => length.parse().ok().map(Length::Seconds).map(storm::run),
        },
        _ => None,
    };
    done.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}
