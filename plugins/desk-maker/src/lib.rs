//! Quotes both sides of the order book, one order on each. This is all that a strategy's author writes.
#![forbid(unsafe_code)]

use desk_interfaces::{Intents, MarketEvent, Side, Summary, Trader, What};
use reslot_plugin_api::export_plugin;
use serde::{Deserialize, Serialize};

const EDITION: u32 = 1;
/// The distance of its quotes from the best price.
const EDGE: u64 = 0;
/// How far a resting order may be from the present target price.
const DRIFT: u64 = 3;
const LOT: u64 = 10;
const MOST: i64 = 200;
/// The weight of one quote in the average.
const WEIGHT: f64 = 0.01;

#[derive(Default, Serialize, Deserialize)]
struct Maker {
    /// The last processed event. If it comes again, the strategy decides again but does not count it again.
    seen: u64,
    events: u64,
    average: f64,
    position: Position,
    buys: Resting,
    sells: Resting,
}

#[derive(Default, Serialize, Deserialize)]
struct Position {
    lots: i64,
}

/// Its order on one side.
#[derive(Default, Serialize, Deserialize)]
struct Resting {
    order: u64,
    price: u64,
}

impl Maker {
    fn take_in(&mut self, event: &MarketEvent) {
        if event.number <= self.seen {
            return;
        }
        self.seen = event.number;
        self.events += 1;
        self.position.lots = event.position;
        let own = match event.side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        };
        match event.what {
            What::Quote if event.bid > 0 && event.ask > 0 => {
                let mid = (event.bid + event.ask) as f64 / 2.0;
                self.average += if self.average == 0.0 {
                    mid
                } else {
                    WEIGHT * (mid - self.average)
                };
            }
            What::Accepted => (own.order, own.price) = (event.order, event.price),
            What::Gone if own.order == event.order => own.order = 0,
            _ => {}
        }
    }

    fn quote(&self, own: &Resting, side: Side, price: u64, intents: &mut dyn Intents) {
        if own.order == 0 {
            intents.place(side, price, LOT);
        } else if own.price.abs_diff(price) > DRIFT {
            intents.cancel(own.order);
        }
    }
}

impl Trader for Maker {
    fn on_event(&mut self, event: &MarketEvent, intents: &mut dyn Intents) {
        self.take_in(event);
        if event.what != What::Quote || event.bid < 1 + EDGE || event.ask == 0 {
            return;
        }
        if self.position.lots < MOST {
            self.quote(&self.buys, Side::Buy, event.bid - EDGE, intents);
        }
        if self.position.lots > -MOST {
            self.quote(&self.sells, Side::Sell, event.ask + EDGE, intents);
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            events: self.events,
            average: self.average,
            held: self.position.lots,
            edition: EDITION,
        }
    }
}

export_plugin!(Maker: dyn Trader, name = "desk-maker");
