//! `Self` is another type in each plugin.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn compare(&self, other: &Self) -> bool;
}

fn main() {}
