//! The smallest plugin. Change the text, run `cargo xtask build-plugin greeter`, and the running host prints it.
#![forbid(unsafe_code)]

use reslot_plugin_api::export_plugin;
use sample_interfaces::Greeter;

#[derive(Default)]
struct Polite;

impl Greeter for Polite {
    fn greet(&self, name: &str) -> String {
        format!("Good day, {name}.")
    }
}

export_plugin!(Polite: dyn Greeter, stateless);
