//! An `Rc` belongs to the image that made it.

use reslot_plugin_api::interface;
use std::rc::Rc;

#[interface]
pub trait Strategy {
    fn load(&mut self, prices: Rc<[f64; 4]>);
}

fn main() {}
