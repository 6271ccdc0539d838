//! Reload stress tests for users of Reslot, who have plugins of their own and want to know that replacing them is safe before they
//! do it where it costs money.
//!
//! Given two builds of a plugin, calls that bring it into a state, and a load, a run moves up, down and up again under that load, goes
//! back by rollback, has a fault strike at each step of a reload, and holds that no call failed, no state was lost, and nothing stayed
//! mapped. What it runs on is the real host; only the hooks' failures are made by it, through the host's feature `testing`.
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
//!     .claimed(|strategy| Ok(strategy.on_tick(&tick, &mut Book)?)) // one unit of load, repeated all along
//!     .same(|strategy| Ok(strategy.summary()?.position)) // equal before and after each move
//!     .run()?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! A plugin that many threads call is tried in the [shared](UpDownUp::shared) form. With one build only,
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

use reslot::Policy;
use reslot_plugin_api::Interface;
use script::Plan;
use std::{marker::PhantomData, time::Duration};

/// Two builds of a plugin with the interface `I`, and how they are tried. What is called, and by how many, is said by
/// [`claimed`](Self::claimed) or [`shared`](Self::shared), and then there is a `run`.
#[must_use = "nothing happens before `run`"]
pub struct UpDownUp<I: ?Sized> {
    old: Artifact,
    new: Option<Artifact>,
    beside: Vec<Artifact>,
    policy: Policy,
    drain: Duration,
    hang: Duration,
    units: u64,
    faults: bool,
    strict: bool,
    interface: PhantomData<fn() -> Box<I>>,
}

impl<I: ?Sized + Interface> UpDownUp<I> {
    /// From `old` to `new`, back down, and up again.
    pub fn new(old: Artifact, new: Artifact) -> Self {
        Self::of(old, Some(new))
    }

    /// From a build to its twin, which is the same but for bytes at the end of the file that nobody reads. It shows that a plugin
    /// can be replaced at all: that its state goes over, and that its image goes.
    pub fn same_build(build: Artifact) -> Self {
        Self::of(build, None)
    }

    fn of(old: Artifact, new: Option<Artifact>) -> Self {
        Self {
            old,
            new,
            beside: Vec::new(),
            policy: Policy::development(),
            drain: Duration::from_secs(5),
            hang: Duration::from_millis(500),
            units: 50,
            faults: true,
            strict: false,
            interface: PhantomData,
        }
    }

    /// A plugin that this one calls. It is loaded first, and not moved. In the order in which they are given.
    pub fn beside(mut self, plugin: Artifact) -> Self {
        self.beside.push(plugin);
        self
    }

    /// The policy of the hosts, to be that of production, say. Default: [`Policy::development`]. The run decides itself how long a
    /// probation is, what ends it, and what state a rollback goes on from.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// [`HostBuilder::drain_deadline`](reslot::HostBuilder::drain_deadline) of the hosts: how long threads of a plugin may take to
    /// end. Default: 5 s.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.drain = deadline;
        self
    }

    /// How long a hook may take in the part of the run in which hooks hang. Each that hangs takes so long, and those that do not must
    /// take less. Default: 500 ms.
    pub fn hang_deadline(mut self, deadline: Duration) -> Self {
        self.hang = deadline;
        self
    }

    /// How many units of load come before each move and after it at least, on each thread. Default: 50.
    pub fn units(mut self, units: u64) -> Self {
        self.units = units;
        self
    }

    /// Whether faults are tried as well, which takes most of the time. Default: yes.
    pub fn faults(mut self, faults: bool) -> Self {
        self.faults = faults;
        self
    }

    /// Holds the whole process to have as many threads and descriptors after the run as before it. For a test that is alone in its
    /// process: other tests have threads of their own. Default: no; what is held to be gone are the images of the run's own hosts.
    pub fn strict_process(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// With one owner, who calls `load` all along: one unit of load, which is one call or several. Its `Err` is a call that failed.
    pub fn claimed<'a>(self, load: impl FnMut(&mut I::Client) -> Result<(), Problem> + 'a) -> Claimed<'a, I> {
        Claimed::new(self, Box::new(load))
    }

    /// With so many threads that call `load` all along: one unit of load, which is one call or several. Its `Err` is a call that
    /// failed.
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
            drain: self.drain,
            hang: self.hang,
            faults: self.faults,
            strict: self.strict,
        }
    }
}
