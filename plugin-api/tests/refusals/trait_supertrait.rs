//! An interface has no supertraits.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy: std::fmt::Debug {
    fn on_tick(&mut self);
}

fn main() {}
