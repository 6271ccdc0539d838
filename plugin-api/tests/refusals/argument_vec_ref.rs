//! A list is lent as a slice, not as the owner of the list.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn load(&mut self, prices: &mut Vec<f64>);
}

fn main() {}
