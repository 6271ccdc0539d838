//! Text may be read, not changed in place.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn rename(&mut self, name: &mut str);
}

fn main() {}
