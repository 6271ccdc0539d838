//! An interface is one function table.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy<T> {
    fn on_tick(&mut self, price: &T);
}

fn main() {}
