//! A result is not a way in.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn position(&mut self) -> &mut i64;
}

fn main() {}
