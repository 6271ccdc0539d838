//! Reslot's side of the reload benchmark: who calls the plugin, which host, and how long it takes until the new build
//! answers; and the lower bound that any loader has.

use crate::artifacts::{Publish, Reloads, until};
use fixture_interfaces::{BenchReload, BenchState, Counter, Probe, SharedCounter};
use reslot::{Claim, Event, Events, Host, HostBuilder, Reader, Slot, Step};
use reslot_bench::{Samples, micros};
use reslot_tests::{Fixture, Folder};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// What is called, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By a reader's views: what is as small as the peers' plugins.
    Smallest,
    /// The same with one owner, and a megabyte of state.
    Megabyte,
    Open,
    OpenWithState,
    Claimed,
    ClaimedWithState,
}

impl Way {
    /// Which fixture that needs.
    pub fn package(self) -> &'static str {
        match self {
            Self::Smallest => "fx-bench-reload",
            Self::Megabyte => "fx-bench-state",
            Self::Open | Self::Claimed => "fx-probe",
            Self::OpenWithState => "fx-shared-counter",
            Self::ClaimedWithState => "fx-counter",
        }
    }
}

enum Caller {
    Smallest(Slot<dyn BenchReload>, Reader),
    Megabyte(Claim<dyn BenchState>),
    Open(Slot<dyn Probe>, Reader),
    OpenWithState(Slot<dyn SharedCounter>, Reader),
    Claimed(Claim<dyn Probe>),
    ClaimedWithState(Claim<dyn Counter>),
}

/// So many positions of the state's book are a megabyte, encoded.
const POSITIONS: u64 = 22_222;

impl Caller {
    fn new(host: &Host, way: Way) -> Self {
        let serves = "the fixture was published";
        match way {
            Way::Smallest => Self::Smallest(host.slot("bench-reload").expect(serves), host.reader()),
            Way::Megabyte => {
                let claim: Claim<dyn BenchState> = host.claim("bench-state").expect(serves);
                claim.fill(POSITIONS).expect("it fills");
                Self::Megabyte(claim)
            }
            Way::Open => Self::Open(host.slot("probe").expect(serves), host.reader()),
            Way::OpenWithState => Self::OpenWithState(host.slot("shared-counter").expect(serves), host.reader()),
            Way::Claimed => Self::Claimed(host.claim("probe").expect(serves)),
            Way::ClaimedWithState => Self::ClaimedWithState(host.claim("counter").expect(serves)),
        }
    }

    /// The number of the build that answers.
    fn stamp(&mut self) -> Option<u64> {
        match self {
            Self::Smallest(slot, reader) => reader.view().get(slot).stamp().ok(),
            Self::Megabyte(claim) => {
                let _ = Claim::sync(claim);
                claim.stamp().ok()
            }
            Self::Open(slot, reader) => reader.view().get(slot).stamp().ok(),
            Self::OpenWithState(slot, reader) => reader.view().get(slot).stamp().ok(),
            Self::Claimed(claim) => {
                let _ = Claim::sync(claim);
                claim.stamp().ok()
            }
            Self::ClaimedWithState(claim) => {
                let _ = Claim::sync(claim);
                claim.report().ok().map(|report| report.stamp)
            }
        }
    }
}

/// A host that watches a folder, and somebody who calls.
pub struct Ours {
    fixture: Fixture,
    folder: Folder,
    caller: Caller,
    events: Events,
    host: Host,
    publish: Publish,
    /// In milliseconds.
    pub times: Samples,
    /// In microseconds.
    pub steps: BTreeMap<Step, Samples>,
    /// How large the state was that was handed over, in bytes.
    pub state: Option<usize>,
}

impl Ours {
    /// As the builder says; published by rename.
    pub fn new(builder: HostBuilder, fixture: &Fixture, way: Way) -> Self {
        let (folder, fixture) = (Folder::new(), fixture.clone());
        folder.publish(fixture.file(), &fixture.stamped(0));
        let host = builder.watch(folder.path()).build().expect("the host starts");
        Self {
            caller: Caller::new(&host, way),
            events: host.events(),
            fixture,
            folder,
            host,
            publish: Publish::Rename,
            times: Samples::new(),
            steps: BTreeMap::new(),
            state: None,
        }
    }

    pub fn published_by(mut self, publish: Publish) -> Self {
        self.publish = publish;
        self
    }
}

impl Reloads for Ours {
    fn begin(&mut self) {
        (self.times, self.steps) = (Samples::new(), BTreeMap::new());
    }

    fn reload(&mut self, n: u64) {
        let bytes = self.fixture.stamped(n);
        let begun = self.publish.publish(&self.folder, self.fixture.file(), &bytes);
        let took = until(begun, n, || self.caller.stamp());
        self.times.push(took.as_secs_f64() * 1e3);
        while let Some(record) = self.events.try_recv() {
            match &record.event {
                Event::Swapped(report) if report.replaced.is_some() => {
                    self.state = report.state_bytes;
                    for (step, took) in &report.steps {
                        self.steps.entry(*step).or_default().push(micros(*took));
                    }
                }
                _ => {}
            }
        }
        // The first answer may have come through an old view, which a reader holds until its next look.
        assert_eq!(self.caller.stamp(), Some(n), "the new code keeps serving");
        // Wait until the generation before the last is unloaded, so that its end does not disturb the next measurement. The last one is the
        // standby if there is probation.
        assert!(self.host.wait_until_retired(Duration::from_secs(30)), "old images stay");
    }
}

/// What no loader can leave out: read the file, write a copy, dlopen, dlsym, dlclose.
pub struct Floor {
    fixture: Fixture,
    folder: Folder,
    /// In milliseconds.
    pub times: Samples,
}

impl Floor {
    pub fn new(fixture: &Fixture) -> Self {
        Self {
            fixture: fixture.clone(),
            folder: Folder::new(),
            times: Samples::new(),
        }
    }

    fn bare(&self, path: &Path, n: u64) -> Duration {
        let begun = Instant::now();
        let bytes = fs::read(path).expect("it was just written");
        let copy = self.folder.path().join(format!("floor-{n}.so"));
        fs::write(&copy, bytes).expect("the folder is writable");
        // SAFETY: our own fixture; its static constructors are std's.
        let library = unsafe { libloading::Library::new(&copy) }.expect("the fixture opens");
        // SAFETY: only its address is taken.
        let found = unsafe { library.get::<*const ()>(b"reslot_root") }.is_ok();
        assert!(found, "the fixture has a root");
        drop(library);
        let took = begun.elapsed();
        fs::remove_file(copy).expect("it was just written");
        took
    }
}

impl Reloads for Floor {
    fn begin(&mut self) {
        self.times = Samples::new();
    }

    fn reload(&mut self, n: u64) {
        let path = self.folder.publish("floor.so", &self.fixture.stamped(n));
        let took = self.bare(&path, n);
        self.times.push(took.as_secs_f64() * 1e3);
    }
}
