//! A plugin with an allocator of its own says so: `allocator = own`.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Pricer {
    fn price(&self) -> f64;
}

#[derive(Default)]
struct Flat;

impl Pricer for Flat {
    fn price(&self) -> f64 {
        1.0
    }
}

#[global_allocator]
static MINE: std::alloc::System = std::alloc::System;

export_plugin!(Flat: dyn Pricer, stateless);

fn main() {}
