//! The version is that of the newest method.

use reslot_plugin_api::interface;

#[interface(version = "1.1")]
pub trait Strategy {
    #[since("1.2")]
    fn on_close(&mut self) {}
}

fn main() {}
