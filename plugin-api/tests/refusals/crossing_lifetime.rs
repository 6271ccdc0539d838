//! What crosses borrows nothing.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub struct Tick<'a> {
    pub symbol: &'a str,
}

fn main() {}
