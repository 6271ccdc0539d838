//! A plugin cannot keep what it was lent.

use reslot_plugin_api::interface;

#[interface]
pub trait Sink {
    fn send(&mut self, price: f64);
}

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, sink: &mut dyn Sink);
}

struct Momentum {
    kept: Option<&'static mut dyn Sink>,
}

impl Strategy for Momentum {
    fn on_tick(&mut self, sink: &mut dyn Sink) {
        self.kept = Some(sink);
    }
}

fn main() {}
