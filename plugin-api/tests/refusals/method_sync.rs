//! A method named like the host's safe point.
use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn sync(&self);
}

fn main() {}
