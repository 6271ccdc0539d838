//! A plugin with one owner is nobody's peer.

use reslot_plugin_api::{Context, interface};

#[interface]
pub trait Strategy {
    fn on_tick(&mut self, bid: f64);
}

fn start(context: &Context<'_>) {
    let _ = context.peer::<dyn Strategy>("momentum");
}

fn main() {}
