//! What another plugin answers with is borrowed from it, and it is held no longer than the use.

use reslot_plugin_api::{Peer, interface};

#[interface]
pub trait Named {
    fn name(&self) -> &str;
}

fn name(peer: &Peer<dyn Named>) -> &str {
    let loaded = peer.load();
    loaded.name().unwrap()
}

fn main() {}
