//! A tuple has no fixed layout.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, prices: (f64, f64));
}

fn main() {}
