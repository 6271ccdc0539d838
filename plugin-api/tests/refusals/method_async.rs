//! A call across the boundary is a plain one.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    async fn on_tick(&mut self);
}

fn main() {}
