//! Many threads call an interface of `&self` methods at once.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Strategy {
    fn price(&self, bid: f64) -> f64;
}

#[derive(Default)]
struct Momentum(std::cell::Cell<u64>);

impl Strategy for Momentum {
    fn price(&self, bid: f64) -> f64 {
        self.0.set(self.0.get() + 1);
        bid
    }
}

export_plugin!(Momentum: dyn Strategy, stateless);

fn main() {}
