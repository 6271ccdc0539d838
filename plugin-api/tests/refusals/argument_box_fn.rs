//! A callback is an interface.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_close(&mut self, then: Box<dyn Fn(u64)>);
}

fn main() {}
