//! What belongs to an image may not hide in an `Option`.

use reslot_plugin_api::interface;
use std::rc::Rc;

#[interface]
pub trait Strategy {
    fn book(&self) -> Option<Rc<[f64; 4]>>;
}

fn main() {}
