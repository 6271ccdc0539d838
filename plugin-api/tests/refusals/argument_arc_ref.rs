//! An `Arc` belongs to the image that made it, also where it is lent.

use reslot_plugin_api::interface;
use std::sync::Arc;

#[interface]
pub trait Strategy {
    fn load(&mut self, prices: &Arc<[f64; 4]>);
}

fn main() {}
