//! Both sides must know the one layout.

use reslot_plugin_api::Crossing;

#[derive(Crossing)]
#[repr(C)]
pub struct Pair<T> {
    pub first: T,
    pub second: T,
}

fn main() {}
