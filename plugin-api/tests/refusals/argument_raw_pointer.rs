//! A raw pointer says nothing about its validity.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn load(&mut self, first: *const u64);
}

fn main() {}
