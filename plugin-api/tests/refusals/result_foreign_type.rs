//! A type that cannot be copied out.

use reslot_plugin_api::interface;
use std::time::Duration;

#[interface]
pub trait Strategy {
    fn waited(&self) -> Duration;
}

fn main() {}
