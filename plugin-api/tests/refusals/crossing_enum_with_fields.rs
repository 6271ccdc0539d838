//! A variant has no fields.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(u8)]
pub enum Event {
    Tick { bid: f64 },
    Close,
}

fn main() {}
