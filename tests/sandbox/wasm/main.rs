//! The WebAssembly engine in a host, with a plugin that is really compiled to WebAssembly, and with modules that no compiler makes.

mod hostile;
mod limits;
mod plugin;

use fx_sandboxed::{Misdeed, Sandboxed, Sink, Tick};
use plugin::{module, native};
use reslot::{Claim, EngineKind, Event, Events, Fault, Host, Native, Outcome, Policy, SyncOutcome};
use reslot_wasm::Wasm;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Much longer than needed; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A host whose slot `sandboxed` runs in WebAssembly.
struct Place {
    host: Host,
    events: Events,
    folder: TempDir,
}

impl Place {
    fn new(engine: Wasm) -> Self {
        Self::with(engine, Policy::without_probation())
    }

    fn with(engine: Wasm, policy: Policy) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Each module is compiled once for all tests.
        let engine = engine.cache(plugin::cache());
        let host = Host::builder()
            .policy(policy)
            .engine("sandboxed", Native)
            .engine("sandboxed", engine)
            .build()
            .expect("the host starts");
        Self {
            events: host.events(),
            host,
            folder,
        }
    }

    fn publish(&self, bytes: &[u8], ends: &str) -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(format!("sandboxed-{number}.{ends}"));
        std::fs::write(&path, bytes).expect("writable");
        path
    }

    fn load(&self, bytes: &[u8]) {
        let ends = if bytes.starts_with(b"\0asm") { "wasm" } else { "so" };
        self.host.load(self.publish(bytes, ends)).expect("it loads");
    }

    fn claim(&self) -> Claim<dyn Sandboxed> {
        self.host.claim::<dyn Sandboxed>("sandboxed").expect("it serves")
    }

    fn engine(&self) -> Option<EngineKind> {
        engine(&self.host, "sandboxed")
    }

    fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let record = self.events.recv_timeout(left).expect("the event comes");
            if let Some(found) = wanted(&record.event) {
                return found;
            }
        }
    }
}

/// The engine that runs a slot.
fn engine(host: &Host, slot: &str) -> Option<EngineKind> {
    host.slots().into_iter().find(|info| info.name == slot)?.engine
}

struct Heard(Vec<u64>);

impl Sink for Heard {
    fn sum(&mut self, sum: u64) -> u64 {
        self.0.push(sum);
        sum + 1
    }
}

const TICK: Tick = Tick { price: 10, quantity: 2 };

#[test]
fn calls_cross_with_ticks_texts_slices_and_a_callback() {
    let place = Place::new(Wasm::new());
    place.load(&module());
    assert_eq!(place.engine(), Some(EngineKind::Wasm));
    let mut plugin = place.claim();
    let mut heard = Heard(Vec::new());
    assert_eq!(plugin.on_tick(&TICK, &mut heard).expect("it answers"), 21);
    assert_eq!(plugin.on_tick(&TICK, &mut heard).expect("it answers"), 41);
    assert_eq!((heard.0, plugin.sum().expect("it answers")), (vec![20, 40], 40));
    let words = plugin.words(&[TICK, Tick::default()], "grüß").expect("it answers");
    assert_eq!(words, ["10", "0", "GRÜSS"]);
    let mut many = vec![TICK; 10_000];
    plugin.double(&mut many).expect("it answers");
    assert!(many.iter().all(|tick| *tick == Tick { price: 20, quantity: 2 }));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("later");
    assert!(now.as_secs().abs_diff(plugin.seconds().expect("it answers")) < 60);
}

#[test]
fn native_wasm_native_state_round_trip() {
    let place = Place::new(Wasm::new());
    place.load(&native());
    let mut plugin = place.claim();
    let mut heard = Heard(Vec::new());
    for (round, bytes) in [module(), native(), module(), native()].into_iter().enumerate() {
        plugin.on_tick(&TICK, &mut heard).expect("it answers");
        // The same build again would be no news.
        place.load(&plugin::stamped(bytes, round));
        assert!(matches!(Claim::sync(&mut plugin), SyncOutcome::Adopted { .. }));
        assert_eq!(plugin.sum().expect("it answers"), 20 * (round as u64 + 1));
    }
    assert_eq!(place.engine(), Some(EngineKind::Native));
}

#[test]
fn panic_is_an_error_with_its_place_and_the_instance_lives() {
    let place = Place::new(Wasm::new());
    place.load(&module());
    let mut plugin = place.claim();
    plugin.on_tick(&TICK, &mut Heard(Vec::new())).expect("it answers");
    for _ in 0..1_000 {
        let error = plugin.misbehave(Misdeed::Panic).expect_err("it panics");
        let Fault::Panicked { message, location, .. } = error.fault() else {
            panic!("{error}")
        };
        assert_eq!(&**message, "the sum is 20");
        assert!(
            location.as_ref().is_some_and(|place| place.contains("sandboxed/src/lib.rs")),
            "{location:?}"
        );
    }
    assert_eq!(plugin.sum().expect("it lives"), 20);
}

#[test]
fn host_panic_through_guest_goes_on_as_the_hosts_own() {
    struct Panics;
    impl Sink for Panics {
        fn sum(&mut self, _: u64) -> u64 {
            std::panic::resume_unwind(Box::new("the host's own"))
        }
    }
    let place = Place::new(Wasm::new());
    place.load(&module());
    let mut plugin = place.claim();
    let panic = catch_unwind(AssertUnwindSafe(|| plugin.on_tick(&TICK, &mut Panics))).expect_err("it goes on");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the host's own"));
    assert_eq!(plugin.sum().expect("it lives"), 20);
}

#[test]
fn replaced_module_is_proven_gone() {
    let mut place = Place::new(Wasm::new());
    let build = |number| plugin::stamped(hostile::module("i64.const 0"), number);
    place.load(&build(1));
    let mut plugin = place.claim();
    for number in 2..20 {
        place.load(&build(number));
        assert!(matches!(Claim::sync(&mut plugin), SyncOutcome::Adopted { .. }));
        let outcome = place.wait_for(|event| match event {
            Event::Retired(report) => Some(report.outcome.clone()),
            _ => None,
        });
        assert!(matches!(outcome, Outcome::SandboxFreed), "{outcome:?}");
    }
}
