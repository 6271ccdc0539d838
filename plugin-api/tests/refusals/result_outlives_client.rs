//! What a method answers by reference is bound to the borrow of the client.

use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn rename(&mut self, name: &str);
    fn name(&self) -> &str;
}

fn use_after_change(client: &mut StrategyClient) {
    let name = client.name();
    let _ = client.rename("other");
    let _ = name;
}

fn longer<'a>(client: &StrategyClient, _: &'a str) -> &'a str {
    client.name().unwrap_or_default()
}

fn main() {}
