//! The table grows at its end.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    #[since("1.2")]
    fn on_close(&mut self) {}
    #[since("1.1")]
    fn on_open(&mut self) {}
}

fn main() {}
