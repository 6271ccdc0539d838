//! An exclusive plugin that many threads call, and that answers nothing but values of their own.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]

use reslot_plugin_api::{export_plugin, interface};

/// A pricer.
#[interface]
pub trait Pricer {
    /// A price.
    fn price(&self, name: &str) -> f64;
    /// Its name.
    fn name(&self) -> String;
}

#[derive(Default)]
struct Flat;

impl Pricer for Flat {
    fn price(&self, _: &str) -> f64 {
        1.0
    }

    fn name(&self) -> String {
        "flat".to_owned()
    }
}

export_plugin!(Flat: dyn Pricer, exclusive, stateless, uses = []);

fn main() {}
