//! A function pointer would outlive its image.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_close(&mut self, then: fn(u64) -> bool);
}

fn main() {}
