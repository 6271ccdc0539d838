//! Calls through a host, in each way that it offers.

use crate::{comparison::Comparison, threads};
use call_bodies::{Body, Calls, Heard, run, timed};
use fixture_interfaces::{BenchOwned, BenchOwnedClient, BenchShared, BenchSharedClient, Listener};
use reslot::{Claim, Host, Policy, Reader, Slot};
use reslot_plugin_api::CallError;
use reslot_tests::{Fixture, Folder};
use std::{cell::RefCell, hint::black_box, sync::Mutex, time::Duration};

pub const CLAIMED: &str = "claimed";
pub const LINKED: &str = "claimed, linked into the program";
pub const SYNCED: &str = "claimed, sync() before each call";
pub const VIEWED: &str = "one view for all calls";
pub const READ: &str = "reader.view() before each call";
pub const LOADED: &str = "slot.load() for each call";

/// A host, and the two ways to its plugins.
struct Served {
    claim: RefCell<Claim<dyn BenchOwned>>,
    slot: Slot<dyn BenchShared>,
    reader: RefCell<Reader>,
    host: Host,
}

pub struct Ours {
    served: Served,
    /// On probation for as long as this runs: with the default policy, with calls counted, with calls timed.
    on_probation: [(&'static str, Served); 3],
    /// What each of two threads owns.
    claims: [Mutex<Claim<dyn BenchOwned>>; 2],
    /// Of a plugin that is linked into this program.
    linked: RefCell<Claim<dyn BenchOwned>>,
    /// Those of `claims`.
    _hosts: [Host; 2],
    /// That of `linked`.
    _links: Host,
}

impl Served {
    fn new(policy: Policy) -> Self {
        let host = host(policy);
        let claim = RefCell::new(host.claim("bench-owned").expect("it serves"));
        let slot = host.slot("bench-shared").expect("it serves");
        let reader = RefCell::new(host.reader());
        Self {
            claim,
            slot,
            reader,
            host,
        }
    }
}

/// One that serves both fixtures.
fn host(policy: Policy) -> Host {
    let host = Host::builder().policy(policy).build().expect("the host starts");
    let folder = Folder::new();
    for fixture in ["fx-bench-owned", "fx-bench-shared"] {
        let path = folder.publish(fixture, Fixture::build(fixture).bytes());
        host.load(path).expect("the fixture loads");
    }
    host
}

impl Ours {
    pub fn load() -> Self {
        let probation = Policy::development().probation(Duration::from_secs(3600));
        let (mut counting, mut timing) = (probation.clone(), probation.clone());
        counting.probation_calls = u64::MAX;
        timing.call_deadline = Some(Duration::from_secs(60));
        let links = Host::builder().link(reslot_bench::linked::PLUGIN).build();
        let links = links.expect("the host starts");
        let hosts = [(); 2].map(|()| host(Policy::default()));
        Self {
            served: Served::new(Policy::default()),
            on_probation: [
                ("on probation", Served::new(probation)),
                ("on probation, with probation_calls", Served::new(counting)),
                ("on probation, with a call_deadline", Served::new(timing)),
            ],
            claims: hosts
                .each_ref()
                .map(|host| Mutex::new(host.claim("bench-owned").expect("it serves"))),
            linked: RefCell::new(links.claim("bench-linked").expect("it serves")),
            _hosts: hosts,
            _links: links,
        }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        let Served { claim, slot, reader, .. } = &self.served;
        comparison.way(CLAIMED, move |calls| time_claimed::<false>(body, calls, claim));
        comparison.way(LINKED, move |calls| time_claimed::<false>(body, calls, &self.linked));
        if body == Body::Add {
            comparison.way(SYNCED, move |calls| time_claimed::<true>(body, calls, claim));
            comparison.way(VIEWED, move |calls| {
                let mut reader = reader.borrow_mut();
                let client = reader.view().get(slot);
                run(body, calls, &mut Viewed(client, Ear::default()))
            });
        }
        comparison.way(READ, move |calls| time_read(body, calls, reader, slot));
        comparison.way(LOADED, move |calls| run(body, calls, &mut Loaded(slot, Ear::default())));
        if body == Body::Add {
            for (name, served) in &self.on_probation {
                let (claim, slot, reader) = (&served.claim, &served.slot, &served.reader);
                comparison.way(format!("{CLAIMED}, {name}"), move |calls| {
                    time_claimed::<false>(body, calls, claim)
                });
                comparison.way(format!("{READ}, {name}"), move |calls| time_read(body, calls, reader, slot));
            }
        }
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        let (Served { slot, host, .. }, claims) = (&self.served, &self.claims);
        threads::both(comparison, CLAIMED, move |caller, calls| {
            let mut claim = claims[caller].lock().expect("nobody panicked");
            let claim = &mut *claim;
            timed(calls, |x| sure(claim.add(x)))
        });
        threads::both(comparison, VIEWED, move |_, calls| {
            let mut reader = host.reader();
            let (client, mut count) = (reader.view().get(slot), 0);
            timed(calls, |x| sure(client.lent(&mut count, x)))
        });
        threads::both(comparison, READ, move |_, calls| {
            let (mut reader, mut count) = (host.reader(), 0);
            timed(calls, |x| sure(reader.view().get(slot).lent(&mut count, x)))
        });
        threads::both(comparison, LOADED, move |_, calls| {
            let mut count = 0;
            timed(calls, |x| sure(slot.load().lent(&mut count, x)))
        });
    }
}

fn time_claimed<const SYNC: bool>(body: Body, calls: u64, claim: &RefCell<Claim<dyn BenchOwned>>) -> f64 {
    let mut claim = claim.borrow_mut();
    run(body, calls, &mut Claimed::<SYNC>(&mut claim, Ear::default()))
}

fn time_read(body: Body, calls: u64, reader: &RefCell<Reader>, slot: &Slot<dyn BenchShared>) -> f64 {
    let mut reader = reader.borrow_mut();
    run(body, calls, &mut Read(&mut reader, slot, Ear::default()))
}

/// What an embedder does with an answer.
#[inline(always)]
fn sure<T>(answer: Result<T, CallError>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => failed(&error),
    }
}

#[cold]
#[inline(never)]
fn failed(error: &CallError) -> ! {
    panic!("{error:#}")
}

/// What is lent to be called back.
#[derive(Default)]
struct Ear(Heard);

impl Listener for Ear {
    fn hear(&mut self, n: u64) -> u64 {
        self.0.hear(n)
    }
}

struct Claimed<'a, const SYNC: bool>(&'a mut Claim<dyn BenchOwned>, Ear);

impl<const SYNC: bool> Claimed<'_, SYNC> {
    #[inline(always)]
    fn client(&mut self) -> (&mut BenchOwnedClient, &mut Ear) {
        if SYNC {
            let _ = Claim::sync(self.0);
        }
        (self.0, &mut self.1)
    }
}

struct Viewed<'a>(&'a BenchSharedClient, Ear);

impl Viewed<'_> {
    #[inline(always)]
    fn client(&mut self) -> (&BenchSharedClient, &mut Ear) {
        (self.0, &mut self.1)
    }
}

struct Read<'a>(&'a mut Reader, &'a Slot<dyn BenchShared>, Ear);

impl Read<'_> {
    #[inline(always)]
    fn client(&mut self) -> (&BenchSharedClient, &mut Ear) {
        (self.0.view().get(self.1), &mut self.2)
    }
}

struct Loaded<'a>(&'a Slot<dyn BenchShared>, Ear);

impl Loaded<'_> {
    #[inline(always)]
    fn client(&mut self) -> (reslot::SlotGuard<'_, dyn BenchShared>, &mut Ear) {
        (self.0.load(), &mut self.1)
    }
}

/// The same five for everything that has a `client`.
macro_rules! calls {
    ($($way:tt)*) => {
        impl $($way)* {
            #[inline(always)]
            fn add(&mut self, x: u64) -> u64 {
                sure(self.client().0.add(x))
            }

            #[inline(always)]
            fn work(&mut self, x: u64) -> u64 {
                sure(self.client().0.work(x))
            }

            #[inline(always)]
            fn sum(&mut self, numbers: &[f64]) -> f64 {
                sure(self.client().0.sum(numbers))
            }

            #[inline(always)]
            fn text(&mut self) -> usize {
                black_box(sure(self.client().0.text())).len()
            }

            #[inline(always)]
            fn callback(&mut self, x: u64) -> u64 {
                let (client, ear) = self.client();
                sure(client.callback(ear, x))
            }
        }
    };
}

calls!(<const SYNC: bool> Calls for Claimed<'_, SYNC>);
calls!(Calls for Viewed<'_>);
calls!(Calls for Read<'_>);
calls!(Calls for Loaded<'_>);
