//! A `where` clause could ask of the object what a lent one cannot give.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn name(&self) -> &str
    where
        Self: 'static;
}

fn main() {}
