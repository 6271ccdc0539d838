//! Tests that this strategy can be reloaded while it trades. Copy it for your own plugin. It is the only test of its file,
//! so it can count the threads and descriptors of the process.

use reslot_testkit::{Artifact, UpDownUp};
use sample_interfaces::{OrderSink, Side, Strategy, Tick};

/// Counts the orders.
#[derive(Default)]
struct Book(u64);

impl OrderSink for Book {
    fn send(&mut self, _: Side, _: u32, _: f64) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[test]
fn upgrade_is_safe() -> Result<(), Box<dyn std::error::Error>> {
    let (mut book, mut ts) = (Book::default(), 0);
    let report = UpDownUp::<dyn Strategy>::same_build(Artifact::build("momentum")?)
        .strict_process(true)
        .claimed(|strategy| {
            ts += 1;
            let bid = 1.12 + (ts as f64 / 50.0).sin() / 1_000.0;
            let ask = bid + 0.000_05;
            Ok(strategy.on_tick(&Tick { ts, bid, ask }, &mut book)?)
        })
        .same(|strategy| {
            let summary = strategy.summary()?;
            Ok((summary.position, summary.ticks, summary.average))
        })
        .run()?;
    println!("{report}");
    assert!(book.0 > 0, "it has traded");
    Ok(())
}
