//! A plugin that many threads call at once: it has `&self` methods and no data that needs a lock.
#![forbid(unsafe_code)]

use reslot_plugin_api::export_plugin;
use sample_interfaces::{Pricer, Quote};

#[derive(Default)]
struct Mid;

impl Pricer for Mid {
    fn price(&self, quote: &Quote) -> f64 {
        (quote.bid + quote.ask) / 2.0
    }

    fn model(&self) -> &str {
        "mid"
    }
}

export_plugin!(Mid: dyn Pricer, stateless);
