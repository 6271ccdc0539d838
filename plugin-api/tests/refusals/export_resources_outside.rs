//! Resources are files below the folder of the host.

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

export_plugin!(Flat: dyn Pricer, resources = ["levels/one.txt", "../secret"]);

fn main() {}
