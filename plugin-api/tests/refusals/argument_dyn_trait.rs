//! Only an interface can be lent as `&dyn`.

use reslot_plugin_api::interface;
pub trait Sink {}

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, sink: &mut dyn Sink);
}

fn main() {}
