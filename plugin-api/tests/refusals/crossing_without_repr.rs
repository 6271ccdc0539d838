//! The layout must be fixed.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
pub struct Tick {
    pub bid: f64,
}

fn main() {}
