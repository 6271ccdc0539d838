//! What a call costs, as a ratio to a bare `extern "C"` pointer call of the same body in a loaded library, measured in
//! interleaved rounds of one run: `cargo xtask bench call`.
//!
//! The bodies, and the loop around them, are [`call_bodies`]' for every way, so that what differs is the way. Each way loads
//! what it calls as its documentation has it; ours is a host with its defaults.

mod comparison;
mod instructions;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod plain;
mod process;
mod rows;
mod threads;

use call_bodies::Body;
use comparison::Comparison;
use ours::Ours;
use plain::Plain;
use process::Process;
use reslot_bench::Report;

/// The base of all the ratios.
const BARE: &str = "bare extern \"C\" pointer";

fn main() -> anyhow::Result<()> {
    if process::is_child() {
        return process::serve();
    }
    let (plain, ours, process) = (Plain::load(), Ours::load(), Process::start()?);
    #[cfg(feature = "peers")]
    let peers = peers::Peers::load();

    let mut report = Report::new("call");
    for body in [Body::Add, Body::Work, Body::Sum, Body::Text, Body::Callback] {
        let mut comparison = Comparison::new();
        plain.ways(body, &mut comparison);
        ours.ways(body, &mut comparison);
        #[cfg(feature = "peers")]
        peers.ways(body, &mut comparison);
        process.ways(body, &mut comparison);
        comparison.measure();
        rows::of_body(body, &comparison, &mut report);
        if body == Body::Add {
            instructions::count(&mut comparison, &mut report);
        }
    }

    let mut comparison = Comparison::new();
    plain.on_threads(&mut comparison);
    ours.on_threads(&mut comparison);
    #[cfg(feature = "peers")]
    peers.on_threads(&mut comparison);
    process.on_threads(&mut comparison);
    comparison.measure();
    rows::of_threads(&comparison, &mut report);
    report.finish()
}
