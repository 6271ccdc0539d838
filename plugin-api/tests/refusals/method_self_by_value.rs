//! The instance stays where it is.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn finish(self) -> u64;
}

fn main() {}
