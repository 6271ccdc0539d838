//! A result borrows from `self` only.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn name(&self) -> &'static str;
}

fn main() {}
