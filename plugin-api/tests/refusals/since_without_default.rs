//! An older plugin needs something to run.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    #[since("1.1")]
    fn on_close(&mut self);
}

fn main() {}
