//! A condition inside would make two interfaces of one name.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    #[cfg(debug_assertions)]
    fn trace(&self);
}

fn main() {}
