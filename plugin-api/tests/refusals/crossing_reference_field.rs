//! A reference does not cross inside of a struct.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub struct Tick {
    pub symbol: &'static str,
}

fn main() {}
