//! The interfaces by which this program calls plugins, as Rust types. A plugin in a sandbox or in a process of its own is called through stubs,
//! which are compiled from such a type; so its table is complete only when one of its interface is known.

use super::generation::Generation;
use reslot_artifact::{compat, manifest};
use reslot_plugin_api::__private::marshal::Marshalling;
use reslot_sync::Mutex;

/// The interfaces that the program has named to a host, by its handles or to the builder.
#[derive(Default)]
pub(crate) struct Interfaces(Mutex<Vec<Marshalling>>);

impl Interfaces {
    /// For a builder that was given these.
    pub(crate) fn new(named: Vec<Marshalling>) -> Self {
        Self(Mutex::new(named))
    }

    /// The program calls plugins by the interface `I`. Without the feature `remote` there are no engines that need to know.
    pub(crate) fn add<I: ?Sized + reslot_plugin_api::Interface>(&self) {
        #[cfg(feature = "remote")]
        {
            let marshalling = Marshalling::of::<I>();
            let mut known = self.0.lock();
            if !known
                .iter()
                .any(|known| std::ptr::eq(known.description(), marshalling.description()))
            {
                known.push(marshalling);
            }
        }
    }

    /// Makes the table of a generation complete, if it is not. Answers whether it may be called.
    pub(crate) fn bind(&self, generation: &Generation) -> bool {
        let instance = generation.instance();
        if instance.is_bound() {
            return true;
        }
        let offered = &instance.manifest().interface;
        let fits = |known: &&Marshalling| {
            let wanted = manifest::Interface::from(known.description());
            wanted.name == offered.name && compat::compare(&wanted, offered).is_ok()
        };
        // The newest of those that fit has stubs for the most methods.
        let known = self.0.lock();
        let newest = known
            .iter()
            .filter(fits)
            .max_by_key(|known| known.description().methods.len());
        if let Some(marshalling) = newest {
            // SAFETY: it was compared above.
            unsafe { instance.bind(marshalling) };
        }
        instance.is_bound()
    }
}
