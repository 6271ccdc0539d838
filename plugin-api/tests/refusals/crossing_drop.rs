//! What crosses is plain bytes.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub struct Order {
    pub number: u64,
}

impl Drop for Order {
    fn drop(&mut self) {}
}

fn main() {}
