//! A receiver that lives for ever would keep the instance beyond its end.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn name(&'static self) -> &str;
}

fn main() {}
