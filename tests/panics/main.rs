//! The cost of panics for the process: 100,000 in one generation, and one in each of 300 generations. It is a separate test
//! binary with one test, because it measures the whole process.
#![forbid(unsafe_code)]

use fixture_interfaces::Probe;
use reslot::{CallError, Event, Events, Host, Outcome, Slot};
use reslot_tests::{Fixture, Folder, Footprint};
use std::{
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);
const STORM: u64 = 100_000;
const GENERATIONS: u64 = 200;

/// More events than the host keeps.
const FULL: u64 = 10_000;

struct Scene {
    folder: Folder,
    host: Host,
    events: Events,
    slot: Slot<dyn Probe>,
    plugin: Fixture,
    generation: u64,
}

impl Scene {
    fn new() -> Self {
        let (folder, plugin) = (Folder::new(), Fixture::build("fx-panics-deep"));
        folder.publish("libprobe.so", &plugin.stamped(1));
        let host = Host::builder()
            .policy(reslot::Policy::without_probation())
            .watch(folder.path())
            .build()
            .expect("the host starts");
        let (events, slot) = (host.events(), host.slot::<dyn Probe>("probe").expect("it fits"));
        Self {
            folder,
            host,
            events,
            slot,
            plugin,
            generation: 1,
        }
    }

    fn panics(&self, times: u64) -> CallError {
        let panic = || self.slot.load().fail("again and again").expect_err("it panics each time");
        (1..times).for_each(|_| drop(panic()));
        panic()
    }

    /// Waits until the process has no more descriptors and executable mappings than this. For a moment after a reload one of the host's
    /// threads may still have the artifact's file open; what a generation leaves would never go.
    fn comes_down_to(descriptors: usize, executable_mappings: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Footprint::now();
            if now.descriptors <= descriptors && now.executable_mappings <= executable_mappings {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} descriptors instead of {descriptors}, {} executable mappings instead of {executable_mappings}",
                now.descriptors,
                now.executable_mappings
            );
            thread::yield_now();
        }
    }

    /// Reloads, and waits until the old image is proven unmapped.
    fn reload(&mut self) {
        let old = self.generation;
        self.generation += 1;
        self.folder.publish("libprobe.so", &self.plugin.stamped(self.generation));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let record = self.events.recv_timeout(left).expect("the old generation ends");
            if let Event::Retired(report) = &record.event
                && report.generation == old
            {
                assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:#?}");
                return;
            }
        }
    }
}

fn names(error: &CallError) -> String {
    error.backtrace().expect("it panicked").to_string()
}

#[test]
fn panics_leave_nothing_but_names() {
    let mut scene = Scene::new();
    // The host keeps a limited number of events, so memory grows until that number is reached.
    scene.panics(FULL);
    let before = Footprint::now();
    let begun = Instant::now();
    let error = scene.panics(STORM);
    let each = begun.elapsed() / STORM as u32;
    let after = Footprint::now();
    let storm = after.resident_kib.saturating_sub(before.resident_kib);
    assert!(storm < 2_048, "{storm} KiB for {STORM} panics of one stack");
    scene.reload();
    assert!(names(&error).contains("fx_panics_deep::last_of_deep"), "{}", names(&error));

    // One panic per generation, each with its own symbol names; the test keeps all the errors.
    let mut errors = Vec::new();
    let (mut descriptors, mut executable_mappings) = (usize::MAX, usize::MAX);
    for _ in 0..GENERATIONS / 2 {
        errors.push(scene.panics(1));
        scene.reload();
        let now = Footprint::now();
        descriptors = descriptors.min(now.descriptors);
        executable_mappings = executable_mappings.min(now.executable_mappings);
    }
    let before = Footprint::now();
    for _ in 0..GENERATIONS {
        errors.push(scene.panics(1));
        scene.reload();
    }
    let after = Footprint::now();
    let generations = after.resident_kib.saturating_sub(before.resident_kib);
    eprintln!(
        "a panic takes {each:?}; {STORM} panics: {storm} KiB; {GENERATIONS} generations that panicked: {generations} KiB"
    );
    assert!(generations < 8_192, "{generations} KiB for {GENERATIONS} generations");
    Scene::comes_down_to(descriptors, executable_mappings);
    assert_eq!(scene.host.images().mapped, 1);
    for error in &errors {
        assert!(names(error).contains("fx_panics_deep::last_of_deep"), "{}", names(error));
    }
}
