//! What is stopped while it is still called must not have lent anything.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Pricer {
    fn price(&self) -> f64;
    fn levels(&self) -> &[f64];
}

#[derive(Default)]
struct Flat;

impl Pricer for Flat {
    fn price(&self) -> f64 {
        1.0
    }

    fn levels(&self) -> &[f64] {
        &[1.0]
    }
}

export_plugin!(Flat: dyn Pricer, stateless, exclusive);

fn main() {}
