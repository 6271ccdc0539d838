//! A lent object stays on the caller's thread.

use reslot_plugin_api::interface;

#[interface]
pub trait Sink {
    fn send(&self, price: f64);
}

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, sink: &dyn Sink);
}

struct Momentum;

impl Strategy for Momentum {
    fn on_tick(&mut self, sink: &dyn Sink) {
        std::thread::scope(|scope| {
            scope.spawn(|| sink.send(1.0));
        });
    }
}

fn main() {}
