//! The type implements the interface.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

#[derive(Default)]
struct Momentum;

export_plugin!(Momentum: dyn Strategy, stateless);

fn main() {}
