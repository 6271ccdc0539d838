//! The options in any order, with a comma at the end; the plugin brings its own allocator.
#![forbid(unsafe_code)]
#![deny(warnings)]

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

export_plugin!(Flat: dyn Pricer, name = "flat", allocator = own, stateless,);

fn main() {}
