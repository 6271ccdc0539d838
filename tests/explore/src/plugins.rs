//! The plugins of the executions.

use crate::world::{self, Here, Place};
use reslot_plugin_api::{CallError, Context, Health, LinkedPlugin, Peer, Plugin, PluginError, export_plugin, interface};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter that many threads call.
#[interface]
pub trait Tally {
    /// Adds, and answers the total.
    fn add(&self, n: u64) -> u64;
    /// Adds, and calls the lent object meanwhile.
    fn add_around(&self, n: u64, inner: &mut dyn Inner);
    /// What was added since the first generation.
    fn total(&self) -> u64;
    /// Of the build.
    fn version(&self) -> u64;
}

/// What a caller lends to [`Tally::add_around`].
#[interface]
pub trait Inner {
    /// Calls something else.
    fn call(&mut self);
}

/// A counter with one owner.
#[interface]
pub trait Book {
    /// Adds, and answers the total.
    fn add(&mut self, n: u64) -> u64;
    /// What was added since the first generation.
    fn total(&self) -> u64;
    /// Of the build.
    fn version(&self) -> u64;
}

/// A plugin that calls the tally.
#[interface]
pub trait Calls {
    /// Adds to the tally, and answers what it answers; 0 if it did not.
    fn add(&self, n: u64) -> u64;
    /// Looks the tally up, calls the lent object, and adds only then. The error says why it did not.
    fn add_after(&self, n: u64, inner: &mut dyn Inner) -> Result<u64, String>;
    /// Of the build.
    fn version(&self) -> u64;
}

/// All plugins.
pub fn all() -> Vec<LinkedPlugin> {
    vec![
        tally::PLUGIN,
        book::PLUGIN,
        left::PLUGIN,
        right::PLUGIN,
        middle::PLUGIN,
        calls::PLUGIN,
        asks::PLUGIN,
        asks_nobody::PLUGIN,
        grows::PLUGIN,
        grows_not_yet::PLUGIN,
    ]
}

/// A number as state, in an object that knows where it is.
struct Counts {
    total: AtomicU64,
    here: Here,
}

impl Default for Counts {
    fn default() -> Self {
        let here = Here::now();
        let _ = here.act(Place::Create);
        Self {
            total: AtomicU64::new(0),
            here,
        }
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.here.image.encoded.store(world::moment(), Relaxed);
        self.here.act(Place::Snapshot).map_err(serde::ser::Error::custom)?;
        serializer.serialize_u64(self.total.load(Relaxed))
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let here = Here::now();
        let total = u64::deserialize(deserializer)?.into();
        here.act(Place::Restore).map_err(serde::de::Error::custom)?;
        Ok(Self { total, here })
    }
}

impl Counts {
    fn add(&self, n: u64) -> u64 {
        let _inside = self.here.enter();
        if let Err(words) = self.here.act(Place::Call) {
            panic!("{words}");
        }
        self.total.fetch_add(n, Relaxed) + n
    }

    fn add_around(&self, n: u64, inner: &mut dyn Inner) {
        let _inside = self.here.enter();
        inner.call();
        self.total.fetch_add(n, Relaxed);
    }

    fn total(&self) -> u64 {
        let _inside = self.here.enter();
        self.total.load(Relaxed)
    }

    fn version(&self) -> u64 {
        let _inside = self.here.enter();
        self.here.image.script.version
    }

    fn hook(&self, place: Place) -> Result<(), PluginError> {
        Ok(self.here.act(place)?)
    }

    fn health(&self) -> Health {
        match self.here.act(Place::Health) {
            Ok(()) => Health::Ok,
            Err(words) => Health::Critical(words),
        }
    }
}

macro_rules! lifecycle {
    ($type:ty, $counts:tt) => {
        impl Plugin for $type {
            fn init(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
                self.$counts.hook(Place::Init)
            }

            fn start(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
                self.$counts.hook(Place::Start)
            }

            fn stop(&mut self, _: &Context<'_>) -> Result<(), PluginError> {
                self.$counts.hook(Place::Stop)
            }

            fn health(&self, _: &Context<'_>) -> Health {
                self.$counts.health()
            }
        }
    };
}

/// A tally of the counts that the type wraps.
macro_rules! tallies {
    ($type:ty) => {
        impl Tally for $type {
            fn add(&self, n: u64) -> u64 {
                self.0.add(n)
            }

            fn add_around(&self, n: u64, inner: &mut dyn Inner) {
                self.0.add_around(n, inner);
            }

            fn total(&self) -> u64 {
                self.0.total()
            }

            fn version(&self) -> u64 {
                self.0.version()
            }
        }

        lifecycle!($type, 0);
    };
}

/// `tally`: shared, with state.
pub mod tally {
    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    struct Shares(Counts);

    tallies!(Shares);
    export_plugin!(Shares: dyn Tally, name = "tally");
}

/// `book`: owned, with state.
pub mod book {
    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    struct Owned(Counts);

    impl Book for Owned {
        fn add(&mut self, n: u64) -> u64 {
            self.0.add(n)
        }

        fn total(&self) -> u64 {
            self.0.total()
        }

        fn version(&self) -> u64 {
            self.0.version()
        }
    }

    lifecycle!(Owned, 0);
    export_plugin!(Owned: dyn Book, name = "book");
}

macro_rules! stateless {
    ($($name:ident $text:literal),*) => {$(
        /// Shared, without state.
        pub mod $name {
            use super::*;

            #[derive(Default)]
            struct Plain(Counts);

            tallies!(Plain);
            export_plugin!(Plain: dyn Tally, stateless, name = $text);
        }
    )*};
}
stateless!(left "left", middle "middle", right "right");

/// A caller of the tally with this name.
macro_rules! calling {
    ($name:ident $text:literal) => {
        /// Shared, without state, and a caller of the tally.
        pub mod $name {
            use super::*;

            #[derive(Default)]
            struct Calling {
                counts: Counts,
                tally: Option<Peer<dyn Tally>>,
            }

            impl Calls for Calling {
                fn add(&self, n: u64) -> u64 {
                    let _inside = self.counts.here.enter();
                    let add = |tally: &Peer<dyn Tally>| -> Result<u64, CallError> { tally.load().add(n) };
                    self.tally.as_ref().and_then(|tally| add(tally).ok()).unwrap_or(0)
                }

                fn add_after(&self, n: u64, inner: &mut dyn Inner) -> Result<u64, String> {
                    let _inside = self.counts.here.enter();
                    let tally = self.tally.as_ref().ok_or("it was not started")?.load();
                    inner.call();
                    tally.add(n).map_err(|error| error.to_string())
                }

                fn version(&self) -> u64 {
                    self.counts.version()
                }
            }

            impl Plugin for Calling {
                fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
                    self.tally = Some(context.peer("tally")?);
                    self.counts.hook(Place::Start)
                }
            }

            export_plugin!(Calling: dyn Calls, stateless, name = $text, uses = ["tally"]);
        }
    };
}
calling!(calls "calls");
calling!(asks "asks");

/// Builds of `asks` that do not call the tally.
pub mod asks_nobody {
    use super::*;

    #[derive(Default)]
    struct Alone(Counts);

    impl Calls for Alone {
        fn add(&self, _: u64) -> u64 {
            0
        }

        fn add_after(&self, _: u64, _: &mut dyn Inner) -> Result<u64, String> {
            Err("it calls nobody".to_owned())
        }

        fn version(&self) -> u64 {
            self.0.version()
        }
    }

    lifecycle!(Alone, 0);
    export_plugin!(Alone: dyn Calls, stateless, name = "asks");
}

/// A plugin whose interface changes from build to build, in a way that its callers do not survive.
macro_rules! grows {
    ($name:ident $number:ty) => {
        /// Shared, without state.
        pub mod $name {
            use super::*;

            /// What the build is called by.
            #[interface]
            pub trait Grows {
                /// Of the build, beside what was given.
                fn version(&self, n: $number) -> u64;
            }

            #[derive(Default)]
            struct Growing(Counts);

            impl Grows for Growing {
                fn version(&self, _: $number) -> u64 {
                    self.0.version()
                }
            }

            lifecycle!(Growing, 0);
            export_plugin!(Growing: dyn Grows, stateless, name = "grows");
        }
    };
}
grows!(grows_not_yet u64);
grows!(grows i64);
