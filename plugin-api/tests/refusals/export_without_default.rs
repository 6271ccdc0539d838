//! The host makes the instance.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

struct Momentum;

impl Strategy for Momentum {
    fn on_tick(&mut self, _bid: f64) {}
}

export_plugin!(Momentum: dyn Strategy, stateless);

fn main() {}
