//! A trading strategy that follows its own average. This is all that a plugin's author writes. Its value is its state, and
//! the next build starts from it.
#![forbid(unsafe_code)]

use reslot_plugin_api::export_plugin;
use sample_interfaces::{OrderSink, Side, Strategy, Summary, Tick};
use serde::{Deserialize, Serialize};

/// Change it, save, and `summary` returns the new number.
const EDITION: u32 = 1;
/// How far the price must leave its average before the strategy acts, in price units.
const THRESHOLD: f64 = 0.00020;
/// The weight of one tick in the average.
const WEIGHT: f64 = 0.02;
const MOST: i64 = 10;

#[derive(Default, Serialize, Deserialize)]
struct Momentum {
    position: i64,
    ema: f64,
    ticks: u64,
}

impl Strategy for Momentum {
    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink) {
        let mid = (tick.bid + tick.ask) / 2.0;
        if self.ticks == 0 {
            self.ema = mid;
        }
        self.ticks += 1;
        self.ema += WEIGHT * (mid - self.ema);
        if mid > self.ema + THRESHOLD && self.position < MOST {
            orders.send(Side::Buy, 1, tick.ask);
            self.position += 1;
        } else if mid < self.ema - THRESHOLD && self.position > -MOST {
            orders.send(Side::Sell, 1, tick.bid);
            self.position -= 1;
        }
    }

    fn summary(&self) -> Summary {
        Summary {
            position: self.position,
            ticks: self.ticks,
            average: self.ema,
            edition: EDITION,
        }
    }
}

export_plugin!(Momentum: dyn Strategy);
