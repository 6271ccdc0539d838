//! A map belongs to the image that made it.

use reslot_plugin_api::interface;
use std::collections::HashMap;

#[interface]
pub trait Strategy {
    fn positions(&self) -> HashMap<u32, i64>;
}

fn main() {}
