//! A stateless plugin of an interface that many threads may call, exported from a module.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]

use reslot_plugin_api::{Shared, interface};

/// A pricer.
#[interface(version = "2.3")]
pub trait Pricer {
    /// A price.
    fn price(&self, bid: f64) -> f64;
}

mod plugin {
    use super::Pricer;

    #[derive(Default)]
    struct Flat;

    impl Pricer for Flat {
        fn price(&self, bid: f64) -> f64 {
            bid
        }
    }

    reslot_plugin_api::export_plugin!(Flat: dyn Pricer, stateless);
}

fn from_many_threads<I: ?Sized + Shared>() {}

fn is_sync<T: ?Sized + Sync>() {}

fn main() {
    from_many_threads::<dyn Pricer>();
    is_sync::<PricerClient>();
}
