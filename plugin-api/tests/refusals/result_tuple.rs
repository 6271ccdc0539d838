//! A tuple has no fixed layout.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn quote(&self) -> (f64, f64);
}

fn main() {}
