//! What a method answers borrows from `self` only.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn longer<'a>(&self, name: &'a str) -> &'a str;
}

fn main() {}
