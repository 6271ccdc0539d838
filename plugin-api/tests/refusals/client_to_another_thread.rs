//! A client of an interface with `&mut self` methods is not shared.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
    fn position(&self) -> i64;
}

fn from_two_threads(client: &StrategyClient) {
    std::thread::scope(|scope| {
        scope.spawn(|| client.position());
    });
}

fn main() {}
