//! The representation must be fixed.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
pub enum Side {
    Buy,
    Sell,
}

fn main() {}
