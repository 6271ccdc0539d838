//! The representation of an enum under `repr(C)` is the platform's.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub enum Side {
    Buy,
    Sell,
}

fn main() {}
