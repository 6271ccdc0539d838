//! An argument has a name.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, _: u64);
}

fn main() {}
