//! An interface has only methods, no constants.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    const LIMIT: u64;
    fn on_tick(&mut self);
}

fn main() {}
