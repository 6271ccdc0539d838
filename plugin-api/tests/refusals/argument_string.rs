//! Text is lent as `&str`.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn rename(&mut self, name: String);
}

fn main() {}
