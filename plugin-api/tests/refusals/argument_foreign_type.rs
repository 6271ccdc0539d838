//! A type that does not derive `Crossing`.

use reslot_plugin_api::interface;
use std::time::Duration;

#[interface]
pub trait Strategy {
    fn wait(&mut self, time: Duration);
}

fn main() {}
