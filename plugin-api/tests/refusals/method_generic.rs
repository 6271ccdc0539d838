//! A method is one function in a table.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_event<E>(&mut self, event: &E);
}

fn main() {}
