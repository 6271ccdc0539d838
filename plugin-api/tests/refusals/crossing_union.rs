//! Nothing says which field of a union is meant.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub union Either {
    pub number: u64,
    pub price: f64,
}

fn main() {}
