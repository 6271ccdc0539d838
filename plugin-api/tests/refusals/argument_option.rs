//! `Option` is for results.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, limit: Option<f64>);
}

fn main() {}
