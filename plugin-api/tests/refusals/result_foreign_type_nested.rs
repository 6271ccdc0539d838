//! A type that cannot be copied out, inside of a `Vec`.

use reslot_plugin_api::interface;
use std::time::Duration;

#[interface]
pub trait Strategy {
    fn waited(&self) -> Vec<Duration>;
}

fn main() {}
