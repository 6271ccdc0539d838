//! A callback is an interface, also where it is lent.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_close(&mut self, then: &dyn Fn(u64));
}

fn main() {}
