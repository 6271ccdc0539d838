//! Gauges on several threads at once: a slow thread does not overwrite a newer number with an old one.

use fixture_interfaces::Moody;
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use reslot::{
    Host, Policy,
    metrics::{Metrics, MetricsRecorder},
};
use reslot_tests::{Fixture, Folder};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

const GENERATION: &str = "reslot_slot_generation";

/// A recorder in which the first thread that sets the generation waits until the test releases it.
#[derive(Default)]
struct Slow {
    gauges: Mutex<BTreeMap<String, f64>>,
    waits: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

struct Line(Arc<Slow>, String);

impl GaugeFn for Line {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        if self.1 == GENERATION {
            let waits = self.0.waits.lock().unwrap().take();
            if let Some((has_come, may_go)) = waits {
                has_come.send(()).unwrap();
                may_go.recv_timeout(Duration::from_secs(60)).unwrap();
            }
        }
        self.0.gauges.lock().unwrap().insert(self.1.clone(), value);
    }
}

struct Of(Arc<Slow>);

impl Recorder for Of {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Line(self.0.clone(), key.name().to_owned())))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn host() -> Host {
    let builder = Host::builder().policy(Policy::without_probation());
    builder.attach(Metrics::new()).build().unwrap()
}

/// Runs `first` on a thread until it is about to set the generation to 1, publishes generation 2, runs `second` on another
/// thread, which sets 2, and only then releases the first thread.
fn slow_one_is_overtaken(first: fn(&Host), second: fn(&Host)) {
    let (folder, moody) = (Folder::new(), Fixture::build("fx-moody"));
    let host = host();
    host.load(folder.publish("a.so", &moody.stamped(1))).unwrap();
    let (has_come, come) = mpsc::channel();
    let (go, may_go) = mpsc::channel();
    let slow = Arc::new(Slow::default());
    *slow.waits.lock().unwrap() = Some((has_come, may_go));
    let said = || slow.gauges.lock().unwrap().get(GENERATION).copied();
    thread::scope(|scope| {
        let slow_one = scope.spawn(|| with_local_recorder(&Of(slow.clone()), || first(&host)));
        come.recv_timeout(Duration::from_secs(60)).unwrap();
        host.load(folder.publish("a.so", &moody.stamped(2))).unwrap();
        with_local_recorder(&Of(slow.clone()), || second(&host));
        assert_eq!(said(), Some(2.0));
        go.send(()).unwrap();
        slow_one.join().unwrap();
    });
    assert_eq!(said(), Some(2.0), "an old number was told last");
}

fn asks(host: &Host) {
    host.surface::<MetricsRecorder>().unwrap().record();
}

fn fails(host: &Host) {
    let slot = host.slot::<dyn Moody>("moody").unwrap();
    slot.load().fail("it slipped").unwrap_err();
}

#[test]
fn gauge_is_updated_again_after_two_events_at_once() {
    slow_one_is_overtaken(fails, fails);
}

#[test]
fn gauge_is_updated_again_after_an_event_and_a_scrape_at_once() {
    slow_one_is_overtaken(fails, asks);
}

#[test]
fn gauge_is_updated_again_after_two_scrapes_at_once() {
    slow_one_is_overtaken(asks, fails);
    slow_one_is_overtaken(asks, asks);
}

/// A recorder that causes a new event at each call does not cause an endless loop.
#[test]
fn recorder_that_always_changes_is_not_repeated_for_ever() {
    struct Talks<'a>(&'a Host);
    impl Recorder for Talks<'_> {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            if key.name() == GENERATION {
                // This inner event goes to another recorder.
                with_local_recorder(&metrics::NoopRecorder, || fails(self.0));
            }
            Gauge::noop()
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }
    let folder = Folder::new();
    let host = host();
    host.load(folder.publish("a.so", &Fixture::build("fx-moody").stamped(1)))
        .unwrap();
    with_local_recorder(&Talks(&host), || asks(&host));
    let faults = host.slots()[0].faults;
    assert!((1..100).contains(&faults), "{faults}");
}
