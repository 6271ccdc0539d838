//! A required method may not follow a later one.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    #[since("1.1")]
    fn on_close(&mut self) {}
    fn on_tick(&mut self);
}

fn main() {}
