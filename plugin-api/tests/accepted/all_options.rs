//! Every option but `stateless`, every hook, and an exclusive plugin that lends: it has one owner, who adopts its successor.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]

use reslot_plugin_api::interface;

/// A gateway with one owner, which may borrow from it.
#[interface]
pub trait Gateway {
    /// Sends.
    fn send(&mut self, price: f64) -> u64;
    /// What was sent.
    fn sent(&self) -> &[f64];
}

mod gateway {
    use reslot_plugin_api::{Context, Health, Plugin, PluginError, StateValue};

    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Port {
        sent: Vec<f64>,
    }

    impl super::Gateway for Port {
        fn send(&mut self, price: f64) -> u64 {
            self.sent.push(price);
            self.sent.len() as u64
        }

        fn sent(&self) -> &[f64] {
            &self.sent
        }
    }

    impl Plugin for Port {
        fn init(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
            self.sent.reserve(64);
            Ok(())
        }

        fn health(&self, _: &Context<'_>) -> Health {
            Health::Warn("it is a test".to_owned())
        }

        fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
            match (from, to) {
                (1, 2) | (2, 1) => Ok(()),
                (2, 3) => state.rename("orders", "sent"),
                (3, 2) => state.rename("sent", "orders"),
                _ => Err("no such schema".into()),
            }
        }
    }

    reslot_plugin_api::export_plugin!(Port: dyn super::Gateway, uses = ["pricer", "risk",], exclusive, migrates_from = 1, schema = 3,
        name = "gateway", allocator = freeing,);
}

fn main() {}
