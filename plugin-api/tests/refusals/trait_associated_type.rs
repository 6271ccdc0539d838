//! An interface has only methods.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    type Price;
    fn on_tick(&mut self);
}

fn main() {}
