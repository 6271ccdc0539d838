//! The facade: a recorder that the embedder installs gets all metrics, on any thread, and its panics have no effect.

use fixture_interfaces::Probe;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use reslot::{
    Event, Host, HostBuilder, Policy,
    metrics::{Metrics, MetricsRecorder},
};
use reslot_tests::{Fixture, Folder};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The recorded numbers, by name and labels. On demand the recorder panics at each call.
#[derive(Default)]
struct Notes {
    numbers: Mutex<BTreeMap<String, f64>>,
    described: Mutex<BTreeSet<String>>,
    panics: AtomicBool,
}

static NOTES: std::sync::LazyLock<Arc<Notes>> = std::sync::LazyLock::new(Arc::default);

struct Line {
    notes: Arc<Notes>,
    name: String,
}

impl Line {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        let mut numbers = self.notes.numbers.lock().unwrap();
        let number = numbers.entry(self.name.clone()).or_default();
        *number = change(*number);
    }
}

impl CounterFn for Line {
    fn increment(&self, value: u64) {
        self.change(|number| number + value as f64);
    }
    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Line {
    fn increment(&self, value: f64) {
        self.change(|number| number + value);
    }
    fn decrement(&self, value: f64) {
        self.change(|number| number - value);
    }
    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl HistogramFn for Line {
    fn record(&self, _: f64) {
        self.change(|number| number + 1.0);
    }
}

struct Installed;

impl Installed {
    fn line(key: &Key) -> Arc<Line> {
        assert!(!NOTES.panics.load(Ordering::Relaxed), "this recorder has a bug");
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Arc::new(Line {
            notes: NOTES.clone(),
            name: format!("{}{{{}}}", key.name(), labels.join(",")),
        })
    }

    fn described(key: &KeyName) {
        NOTES.described.lock().unwrap().insert(key.as_str().to_owned());
    }
}

impl Recorder for Installed {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        Self::described(&key);
    }
    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        Self::described(&key);
    }
    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
        Self::described(&key);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Self::line(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Self::line(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Self::line(key))
    }
}

fn builder() -> HostBuilder {
    Host::builder().policy(Policy::without_probation()).attach(Metrics::new())
}

fn record(host: &Host) {
    host.surface::<MetricsRecorder>().unwrap().record();
}

fn number(name: &str) -> Option<f64> {
    NOTES.numbers.lock().unwrap().get(name).copied()
}

/// The other tests of this binary have hosts as well, whose threads tell their numbers to the same recorder: what is looked at here is of a
/// slot that no other has.
#[test]
fn installed_recorder_is_called_and_its_panics_end_nothing() {
    metrics::set_global_recorder(Installed).unwrap_or_else(|_| panic!("there is one already"));
    let (folder, moody) = (Folder::new(), Fixture::build("fx-moody"));
    let host = builder().build().unwrap();
    let mut events = host.events();
    let load = |stamp| {
        host.load_as("told-of", folder.publish("a.so", &moody.stamped(stamp)))
            .unwrap()
    };
    for stamp in 1..=3 {
        load(stamp);
    }
    let slot = host.slot::<dyn fixture_interfaces::Moody>("told-of").unwrap();
    slot.load().fail("it slipped").unwrap_err();
    assert!(host.wait_until_retired(Duration::from_secs(30)));
    while !matches!(
        &events.recv_timeout(Duration::from_secs(30)).expect("it is told").event,
        Event::Retired(report) if report.generation == 2
    ) {}
    assert_eq!(number("reslot_reload_total{slot=told-of,outcome=swapped}"), Some(3.0));
    assert_eq!(number("reslot_slot_generation{slot=told-of}"), Some(3.0));
    assert_eq!(number("reslot_slot_faults_total{slot=told-of}"), Some(1.0));
    assert_eq!(number("reslot_slot_calls_total{slot=told-of}"), None, "they are not counted");
    assert_eq!(number("reslot_plugin_panics_total{slot=told-of,where=call}"), Some(1.0));
    assert!(number("reslot_reload_seconds{step=swap}").unwrap() >= 3.0);
    // Memory changes without an event, so it is read at each request.
    record(&host);
    let live = host.slots()[0].live_bytes.unwrap();
    assert_eq!(number("reslot_plugin_live_bytes{slot=told-of}"), Some(live as f64));
    // Nothing serves there any more, and nothing has to happen for that to be seen.
    let _ = host.unload("told-of").unwrap();
    assert_eq!(number("reslot_slot_generation{slot=told-of}"), Some(0.0));
    assert_eq!(number("reslot_plugin_live_bytes{slot=told-of}"), Some(0.0));
    // Neither a path nor a hash, nor a name that a refused file gave itself.
    host.load(folder.publish("b.so", Fixture::build("fx-refuses-start").bytes()))
        .unwrap_err();
    let named = |name: &str| name.contains(".so") || name.contains(&*folder.path().to_string_lossy());
    assert!(!NOTES.numbers.lock().unwrap().keys().any(|name| named(name)));
    // Each recorded metric has a description.
    let described = NOTES.described.lock().unwrap().clone();
    for name in NOTES.numbers.lock().unwrap().keys() {
        assert!(described.contains(name.split('{').next().unwrap()), "{name}");
    }

    NOTES.panics.store(true, Ordering::Relaxed);
    load(4);
    assert_eq!(slot.load().stamp().unwrap(), 4);
    slot.load().fail("again").unwrap_err();
    host.load(folder.publish("c.so", b"no library")).unwrap_err();
    record(&host);
    while !matches!(
        &events.recv_timeout(Duration::from_secs(30)).expect("the host goes on").event,
        Event::Retired(report) if report.generation == 3
    ) {}
    drop(slot);
    drop(host);
    NOTES.panics.store(false, Ordering::Relaxed);
    let other = builder().build().unwrap();
    other
        .load(folder.publish("d.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    assert_eq!(other.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 1);
}

/// A regression test: the event of a group that waits for its owners was once emitted under a slot's lock, which reading the
/// gauges needs.
#[test]
fn staging_of_a_set_is_reported_with_no_lock_held() {
    let (folder, host) = (Folder::new(), builder().build().unwrap());
    let publish = |stamp: u64| {
        ["fx-counter", "fx-shared-counter"]
            .map(|name| folder.publish(&format!("{name}.so"), &Fixture::build(name).stamped(stamp)))
    };
    host.load_together(publish(1)).unwrap();
    let mut a = host.claim::<dyn fixture_interfaces::Counter>("counter").unwrap();
    let mut b = host.claim::<dyn fixture_interfaces::SharedCounter>("shared-counter").unwrap();
    host.load_together(publish(2)).unwrap();
    let _ = host.sync_together(&mut [&mut a, &mut b]);
    assert_eq!((a.report().unwrap().stamp, b.stamp().unwrap()), (2, 2));
}
