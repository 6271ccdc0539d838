//! The one thing that the attribute takes.

use reslot_plugin_api::interface;

#[interface(versoin = "1.0")]
pub trait Strategy {
    fn on_close(&mut self);
}

fn main() {}
