//! An interface is lent, not answered.

use reslot_plugin_api::interface;
#[interface]
pub trait Sink {
    fn send(&self, price: f64);
}

#[interface]
pub trait Strategy {
    fn sink(&self) -> &dyn Sink;
}

fn main() {}
