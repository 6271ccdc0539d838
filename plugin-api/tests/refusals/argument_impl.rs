//! An interface is one function table.

use reslot_plugin_api::interface;
pub trait Sink {}

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, sink: impl Sink);
}

fn main() {}
