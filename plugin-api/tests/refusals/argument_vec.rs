//! A list is lent as a slice.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn load(&mut self, prices: Vec<f64>);
}

fn main() {}
