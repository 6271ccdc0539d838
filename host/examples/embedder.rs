//! What an embedder writes: the page of the README, as a program. Build the plugins first
//! (`cargo xtask build-plugin`), then `cargo run -p reslot --example embedder`.
#![forbid(unsafe_code)]

use reslot::{Claim, Host, SyncOutcome};
use sample_interfaces::{OrderSink, Pricer, Quote, Side, Strategy, Tick};

/// The embedder's own object, lent to the strategy for each call.
#[derive(Default)]
struct Book {
    orders: Vec<(Side, u32, f64)>,
}

impl OrderSink for Book {
    fn send(&mut self, side: Side, quantity: u32, price: f64) -> u64 {
        self.orders.push((side, quantity, price));
        self.orders.len() as u64
    }
}

fn feed() -> impl Iterator<Item = Tick> {
    (0..1_000).map(|i| {
        let bid = 1.12 + (i as f64 / 50.0).sin() / 1_000.0;
        let ask = bid + 0.000_05;
        Tick { ts: i, bid, ask }
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "target/reslot/plugins".into());
    let mut book = Book::default();
    let quote = Quote { bid: 1.0, ask: 2.0 };

    let host = Host::builder().watch(folder).build()?;
    let mut strategy = host.claim::<dyn Strategy>("momentum")?; // one owner, `&mut self` methods
    for tick in feed() {
        // The safe point: a staged generation is adopted here and nowhere else.
        if let SyncOutcome::RolledBack { from, generation } = Claim::sync(&mut strategy) {
            println!("generation {from} was faulty: generation {generation} serves");
        }
        strategy.on_tick(&tick, &mut book)?; // one indirect call
    }
    println!("{} orders, {:?}", book.orders.len(), strategy.summary()?);

    let pricer = host.slot::<dyn Pricer>("pricer")?; // many threads, `&self` methods
    let mut reader = host.reader(); // one a thread
    for _ in 0..3 {
        let view = reader.view(); // one atomic load: one consistent set of generations
        println!("{} by {}", view.get(&pricer).price(&quote)?, view.get(&pricer).model()?);
    }
    Ok(())
}
