//! Nothing that changes behind a shared borrow crosses.

use reslot_plugin_api::Crossing;

use std::cell::Cell;

#[derive(Crossing)]
#[repr(C)]
pub struct Tick {
    pub count: Cell<u64>,
}

fn main() {}
