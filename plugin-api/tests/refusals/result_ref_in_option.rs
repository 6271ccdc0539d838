//! A borrow may only be the whole result.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn name(&self) -> Option<&str>;
}

fn main() {}
