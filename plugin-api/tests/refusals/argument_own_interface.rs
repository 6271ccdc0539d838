//! An interface that takes itself has no end.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn merge(&mut self, other: &dyn Strategy);
}

fn main() {}
