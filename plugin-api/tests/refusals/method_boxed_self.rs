//! The instance stays where it is, also in a box.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn finish(self: Box<Self>) -> u64;
}

fn main() {}
