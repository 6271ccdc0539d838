//! The fields of what crosses can be borrowed.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C, packed)]
pub struct Tick {
    pub kind: u8,
    pub bid: f64,
}

fn main() {}
