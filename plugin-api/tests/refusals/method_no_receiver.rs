//! A method has an object.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn make(position: i64) -> i64;
}

fn main() {}
