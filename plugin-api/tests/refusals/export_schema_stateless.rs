//! What has no state has no schema.

use reslot_plugin_api::{export_plugin, interface};

#[interface]
pub trait Pricer {
    fn price(&self) -> f64;
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Flat;

impl Pricer for Flat {
    fn price(&self) -> f64 {
        1.0
    }
}

export_plugin!(Flat: dyn Pricer, schema = 2, stateless);

fn main() {}
