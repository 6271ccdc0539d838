//! The major version is at least that of the newest method.

use reslot_plugin_api::interface;

#[interface(version = "1.1")]
pub trait Strategy {
    #[since("2.0")]
    fn on_close(&mut self) {}
}

fn main() {}
