//! A call across the boundary is a safe one.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    unsafe fn on_tick(&mut self);
}

fn main() {}
