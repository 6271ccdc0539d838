//! A peer is kept, cloned, and sent to threads.

use reslot_plugin_api::{Context, Peer, Plugin, PluginError, export_plugin, interface};

#[interface]
pub trait Pricer {
    fn price(&self, units: u64) -> u64;
    fn currency(&self) -> &str;
}

#[derive(Default)]
struct Desk(Option<Peer<dyn Pricer>>);

impl Plugin for Desk {
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let pricer: Peer<dyn Pricer> = context.peer("pricer")?;
        self.0 = Some(pricer.clone());
        context.spawn("prices", move |_| drop(pricer.load().price(1)))
    }
}

impl Pricer for Desk {
    fn price(&self, units: u64) -> u64 {
        let Some(pricer) = &self.0 else { return 0 };
        let pricer = pricer.load();
        match pricer.currency() {
            Ok("EUR") => pricer.price(units).unwrap_or(0),
            _ => 0,
        }
    }

    fn currency(&self) -> &str {
        "EUR"
    }
}

export_plugin!(Desk: dyn Pricer, stateless);

fn main() {
    assert_eq!(Desk::default().price(1), 0);
}
