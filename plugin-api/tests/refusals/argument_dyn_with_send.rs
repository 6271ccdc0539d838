//! An interface is lent without further bounds.

use reslot_plugin_api::interface;
#[interface]
pub trait Sink {
    fn send(&self, price: f64);
}

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, sink: &(dyn Sink + Send));
}

fn main() {}
