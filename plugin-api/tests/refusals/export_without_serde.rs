//! The value is handed over, or declared stateless.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

#[derive(Default)]
struct Momentum {
    position: i64,
}

impl Strategy for Momentum {
    fn on_tick(&mut self, bid: f64) {
        self.position += bid as i64;
    }
}

export_plugin!(Momentum: dyn Strategy);

fn main() {}
