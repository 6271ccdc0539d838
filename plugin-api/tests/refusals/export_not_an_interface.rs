//! The trait is marked.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

pub trait Other {}

#[derive(Default)]
struct Momentum;

impl Other for Momentum {}

impl Strategy for Momentum {
    fn on_tick(&mut self, _bid: f64) {}
}

export_plugin!(Momentum: dyn Other, stateless);

fn main() {}
