//! What logging costs in a plugin: `cargo xtask bench logs`. A call whose body has an event or a record that is above the slot's level, against
//! the same call without; and one that is not above it, with a subscriber that looks at nothing, for information. The rounds of all lie
//! interleaved, and what is timed is the thread's own processor time, so that whatever else runs on the machine strikes few.

use fixture_interfaces::Speaker;
use reslot::{Host, LogLevel, SlotGuard};
use reslot_bench::{Report, Row, Samples, only_a_test};
use reslot_tests::{Fixture, Folder};
use std::hint::black_box;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

const ROUNDS: usize = 301;
const CALLS: u64 = 50_000;
/// What is promised for an event or a record that is above the level, in nanoseconds.
const PROMISE: f64 = 2.0;

/// Wants everything and looks at nothing.
struct Deaf;

impl Subscriber for Deaf {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Nanoseconds that this thread has run.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds a call.
#[inline(never)]
fn time(calls: u64, mut call: impl FnMut(u64) -> u64) -> f64 {
    let begun = processor_time();
    let mut x = 1;
    for _ in 0..calls {
        x = black_box(call(x));
    }
    (processor_time() - begun) / calls as f64
}

type Body = fn(&SlotGuard<dyn Speaker>, u64) -> f64;

const BODIES: [(&str, Body); 3] = [
    ("a call", |plugin, calls| {
        time(calls, |x| plugin.plain(x).expect("it answers"))
    }),
    ("a call with an event of tracing", |plugin, calls| {
        time(calls, |x| plugin.with_event(x).expect("it answers"))
    }),
    ("a call with a record of log", |plugin, calls| {
        time(calls, |x| plugin.with_record(x).expect("it answers"))
    }),
];

fn measure(plugin: &SlotGuard<dyn Speaker>, rounds: usize, calls: u64) -> [Samples; 3] {
    let mut samples: [Samples; 3] = Default::default();
    for round in 0..rounds {
        // Each goes first as often as the others.
        for turn in 0..BODIES.len() {
            let which = (round + turn) % BODIES.len();
            samples[which].push(BODIES[which].1(plugin, calls));
        }
    }
    samples
}

fn main() -> anyhow::Result<()> {
    let calls = if only_a_test() { 100 } else { CALLS };
    tracing::subscriber::set_global_default(Deaf)?;
    let (folder, fixture) = (Folder::new(), Fixture::build("fx-logs"));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .log_level(LogLevel::Info)
        .build()
        .expect("the host starts");
    host.load(folder.publish(fixture.file(), fixture.bytes()))
        .expect("the fixture loads");
    let slot = host.slot::<dyn Speaker>("logs-a").expect("it serves");
    let plugin = slot.load();

    let mut report = Report::new("logs");
    report.heading("Logging in a plugin; processor time");
    let disabled = measure(&plugin, ROUNDS, calls);
    report.row(Row::new(BODIES[0].0, &disabled[0], "ns"));
    for which in [1, 2] {
        let more = Row::new(
            format!("{}, above the level: more", BODIES[which].0),
            &disabled[which].less(&disabled[0]),
            "ns",
        );
        report.row(more.at_most(PROMISE).quoted());
    }
    host.set_log_level("logs-a", Some(LogLevel::Trace));
    let enabled = measure(&plugin, ROUNDS / 10, calls / 100);
    for which in [1, 2] {
        let more = enabled[which].less(&enabled[0]);
        let row = Row::new(format!("{}, told: more", BODIES[which].0), &more, "ns");
        report.row(row.note("to a subscriber that looks at nothing"));
    }
    report.finish()
}
