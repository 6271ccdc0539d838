//! A client cannot be moved out of what keeps its image alive.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

fn exchange(one: &mut StrategyClient, other: &mut StrategyClient) {
    std::mem::swap(one, other);
}

fn exchange_inside(one: &mut StrategyClient, other: &mut StrategyClient) {
    std::mem::swap(&mut one.connection, &mut other.connection);
}

fn main() {}
