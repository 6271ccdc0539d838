//! A list does not cross inside of a struct.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub struct Book {
    pub bids: Vec<f64>,
}

fn main() {}
