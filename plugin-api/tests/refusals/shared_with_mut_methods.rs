//! What a slot asks of an interface.

use reslot_plugin_api::{Shared, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

fn slot<I: ?Sized + Shared>() {}

fn main() {
    slot::<dyn Strategy>();
}
