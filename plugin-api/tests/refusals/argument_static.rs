//! An argument is borrowed for the call.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn rename(&mut self, name: &'static str);
}

fn main() {}
