//! The bodies of the call benchmark for one owner, in a plugin that is linked into this program.

use fixture_interfaces::{BenchOwned, Listener};
use reslot_plugin_api::export_plugin;

#[derive(Default)]
struct Adder(u64);

impl BenchOwned for Adder {
    fn add(&mut self, x: u64) -> u64 {
        call_bodies::add(&mut self.0, x)
    }

    fn work(&mut self, x: u64) -> u64 {
        call_bodies::work(x)
    }

    fn sum(&mut self, numbers: &[f64]) -> f64 {
        call_bodies::sum(numbers)
    }

    fn text(&mut self) -> String {
        call_bodies::TEXT.to_owned()
    }

    fn callback(&mut self, listener: &mut dyn Listener, x: u64) -> u64 {
        listener.hear(x)
    }
}

export_plugin!(Adder: dyn BenchOwned, stateless, name = "bench-linked");
