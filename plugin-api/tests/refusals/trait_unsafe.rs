//! An interface is a safe trait.

use reslot_plugin_api::interface;

#[interface]
pub unsafe trait Strategy {
    fn on_tick(&mut self);
}

fn main() {}
