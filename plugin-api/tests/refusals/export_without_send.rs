//! The owner may move to another thread.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

#[derive(Default)]
struct Momentum(std::rc::Rc<u64>);

impl Strategy for Momentum {
    fn on_tick(&mut self, _bid: f64) {
        let _ = &self.0;
    }
}

export_plugin!(Momentum: dyn Strategy, stateless);

fn main() {}
