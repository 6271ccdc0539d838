//! Follows its own average of the EUR/USD quotes. This is all that a strategy's author writes.
#![forbid(unsafe_code)]

use desk_interfaces::{Intents, MarketEvent, Side, Summary, Trader, What};
use reslot_plugin_api::export_plugin;
use serde::{Deserialize, Serialize};

const EDITION: u32 = 1;
/// How far the price must leave its average before the strategy acts, in the quotes' smallest step.
const THRESHOLD: f64 = 20.0;
/// The weight of one quote in the average.
const WEIGHT: f64 = 0.02;
const MOST: i64 = 10;

#[derive(Default, Serialize, Deserialize)]
struct Momentum {
    /// The last processed event.
    seen: u64,
    events: u64,
    average: f64,
    held: i64,
}

impl Trader for Momentum {
    fn on_event(&mut self, event: &MarketEvent, intents: &mut dyn Intents) {
        let mid = (event.bid + event.ask) as f64 / 2.0;
        if event.number > self.seen {
            self.seen = event.number;
            self.events += 1;
            self.held = event.position;
            if event.what == What::Quote {
                self.average += if self.average == 0.0 {
                    mid
                } else {
                    WEIGHT * (mid - self.average)
                };
            }
        }
        if event.what != What::Quote {
            return;
        }
        if mid > self.average + THRESHOLD && self.held < MOST {
            intents.place(Side::Buy, event.ask, 1);
        } else if mid < self.average - THRESHOLD && self.held > -MOST {
            intents.place(Side::Sell, event.bid, 1);
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            events: self.events,
            average: self.average,
            held: self.held,
            edition: EDITION,
        }
    }
}

export_plugin!(Momentum: dyn Trader, name = "desk-momentum");
