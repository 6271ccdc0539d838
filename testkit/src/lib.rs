//! Reload stress tests for plugin authors, who want to know that a reload is safe before they use it in production.
//!
//! You give a run two builds of a plugin, calls that give it a state, and a load. The run reloads up, down and up again
//! under that load, rolls back, injects a fault at each step of a reload, and checks that no call failed, no state was lost,
//! and nothing stayed mapped. It uses the real host; only the failures of hooks are injected, through the host's feature
//! `testing`.
//!
//! ```no_run
//! use reslot_testkit::{Artifact, UpDownUp};
//! use sample_interfaces::{OrderSink, Side, Strategy, Tick};
//!
//! struct Book;
//!
//! impl OrderSink for Book {
//!     fn send(&mut self, _: Side, _: u32, _: f64) -> u64 {
//!         1
//!     }
//! }
//!
//! // In a test: fn upgrade_is_safe() -> Result<(), Box<dyn std::error::Error>>
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (old, new) = (Artifact::at("releases/libmomentum.so")?, Artifact::build("momentum")?);
//! let tick = Tick { ts: 1, bid: 1.0, ask: 1.1 };
//! let report = UpDownUp::<dyn Strategy>::new(old, new)
//!     .claimed(|strategy| Ok(strategy.on_tick(&tick, &mut Book)?)) // one unit of load, repeated all the time
//!     .same(|strategy| Ok(strategy.summary()?.position)) // equal before and after each move
//!     .run()?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! For a plugin that many threads call, use the [shared](UpDownUp::shared) form. If you have only one build,
//! [`UpDownUp::same_build`] makes two of it.
#![forbid(unsafe_code)]

mod actor;
mod artifact;
mod claimed;
mod failure;
mod faults;
mod leg;
mod look;
mod process;
mod report;
mod script;
mod shared;

pub use artifact::Artifact;
pub use claimed::Claimed;
pub use failure::{ArtifactError, Broken, Failure, Problem};
pub use report::{Moved, Report, Survived, Tried};
pub use shared::Shared;

use reslot::{Engine, Policy};
use reslot_plugin_api::Interface;
use script::Plan;
use std::{marker::PhantomData, sync::Arc, time::Duration};

/// Two builds of a plugin with the interface `I`, and the options of a test. [`claimed`](Self::claimed) or
/// [`shared`](Self::shared) sets the load; then call `run`.
#[must_use = "nothing happens before `run`"]
pub struct UpDownUp<I: ?Sized> {
    old: Artifact,
    new: Option<Artifact>,
    beside: Vec<Artifact>,
    policy: Policy,
    engine: Option<Arc<dyn Engine>>,
    drain: Duration,
    hang: Duration,
    units: u64,
    faults: bool,
    strict: bool,
    interface: PhantomData<fn() -> Box<I>>,
}

impl<I: ?Sized + Interface> UpDownUp<I> {
    /// Tests reloads from `old` to `new`, back down, and up again.
    pub fn new(old: Artifact, new: Artifact) -> Self {
        Self::of(old, Some(new))
    }

    /// Tests reloads from a build to a copy that differs only in unused bytes at the end of the file. This shows that the
    /// plugin can be reloaded at all: that its state is handed over and its image is unmapped.
    pub fn same_build(build: Artifact) -> Self {
        Self::of(build, None)
    }

    fn of(old: Artifact, new: Option<Artifact>) -> Self {
        Self {
            old,
            new,
            beside: Vec::new(),
            policy: Policy::development(),
            engine: None,
            drain: Duration::from_secs(5),
            hang: Duration::from_millis(500),
            units: 50,
            faults: true,
            strict: false,
            interface: PhantomData,
        }
    }

    /// A plugin that this one calls. It is loaded first and not reloaded. Several plugins are loaded in the given order.
    pub fn beside(mut self, plugin: Artifact) -> Self {
        self.beside.push(plugin);
        self
    }

    /// The policy of the hosts, for example that of production. Default: [`Policy::development`]. The run itself sets the
    /// probation and the state of a rollback.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The engine that runs the plugin, as with [`HostBuilder::engine`](reslot::HostBuilder::engine). Default: it is mapped into the process.
    pub fn engine(mut self, engine: impl Engine + 'static) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// [`HostBuilder::drain_deadline`](reslot::HostBuilder::drain_deadline) of the hosts: how long threads of a plugin may
    /// take to end. Default: 5 s.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// The deadline of hooks in the part with hanging hooks. Each hanging hook takes this long, and all other hooks must be
    /// faster. Default: 500 ms.
    pub fn hang_deadline(mut self, deadline: Duration) -> Self {
        self.hang = deadline;
        self
    }

    /// The lowest number of units of load before and after each move, on each thread. Default: 50.
    pub fn units(mut self, units: u64) -> Self {
        self.units = units;
        self
    }

    /// Whether the run injects faults, which takes most of the time. Default: yes.
    pub fn faults(mut self, faults: bool) -> Self {
        self.faults = faults;
        self
    }

    /// Checks that the process has the same number of threads and descriptors after the run as before. Use it only for a
    /// test that is alone in its process, because other tests have their own threads. Default: no; the run always checks
    /// that the images of its own hosts are gone.
    pub fn strict_process(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Uses one owner, who calls `load` all the time. `load` is one unit of load, with one or more calls. Its `Err` is a
    /// failed call.
    pub fn claimed<'a>(self, load: impl FnMut(&mut I::Client) -> Result<(), Problem> + 'a) -> Claimed<'a, I> {
        Claimed::new(self, Box::new(load))
    }

    /// Uses this number of threads, which call `load` all the time. `load` is one unit of load, with one or more calls. Its
    /// `Err` is a failed call.
    pub fn shared<'a>(self, threads: usize, load: impl Fn(&I::Client) -> Result<(), Problem> + Sync + 'a) -> Shared<'a, I>
    where
        I: reslot_plugin_api::Shared,
    {
        Shared::new(self, threads, Box::new(load))
    }

    fn plan(&self) -> Plan {
        Plan {
            old: self.old.clone(),
            new: self.new.clone(),
            beside: self.beside.clone(),
            policy: self.policy.clone(),
            engine: self.engine.clone(),
            drain: self.drain,
            hang: self.hang,
            faults: self.faults,
            strict: self.strict,
        }
    }
}
