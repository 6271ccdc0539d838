//! What the plugins' allocators cost, as ratios to the system's, measured in interleaved rounds of one run: `cargo xtask bench
//! allocators`. It is measured inside loaded plugins, which differ in one word, because there the allocator is reached as it is in
//! real ones: through the standard library's shims, across crates, in position independent code.
//!
//! The rounds are short, and what is timed is the threads' own processor time, so that whatever else runs on the machine
//! strikes few of them. Nothing here waits, so no time is lost from sight.

use fixture_interfaces::BenchMemory;
use reslot::{Host, Slot};
use reslot_bench::{Report, Row, Samples, only_a_test};
use reslot_tests::{Fixture, Folder};
use std::{sync::Barrier, thread};

const ROUNDS: usize = 301;
const PAIRS: u64 = 50_000;
const ALLOCATORS: [&str; 3] = ["system", "counting", "freeing"];
/// What is promised for a pair, of each allocator, as a ratio to the system's.
const PROMISES: [f64; 3] = [1.0, 1.10, 1.50];

type Body = fn(&Slot<dyn BenchMemory>, u64);

const BODIES: [(&str, Body); 2] = [
    ("a block at a time", |slot, pairs| drop(slot.load().pairs(pairs))),
    ("64 blocks alive", |slot, pairs| drop(slot.load().ring(pairs))),
];

/// Nanoseconds that this thread has run.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for a time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds a pair, on so many threads at once; their mean.
fn time(slot: &Slot<dyn BenchMemory>, body: Body, pairs: u64, count: usize) -> f64 {
    let begin = Barrier::new(count);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    body(slot, pairs / 10);
                    begin.wait();
                    let begun = processor_time();
                    body(slot, pairs);
                    (processor_time() - begun) / pairs as f64
                })
            })
            .collect();
        let times = threads.into_iter().map(|thread| thread.join().expect("a caller panicked"));
        times.fold(0.0, |sum, time| sum + time) / count as f64
    })
}

fn main() -> anyhow::Result<()> {
    // `cargo test --benches` and the like only want to know that it runs.
    let pairs = if only_a_test() { 1_000 } else { PAIRS };
    let folder = Folder::new();
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .build()
        .expect("the host starts");
    let slots = ALLOCATORS.map(|allocator| {
        let fixture = Fixture::build(&format!("fx-bench-memory-{allocator}"));
        let path = folder.publish(fixture.file(), fixture.bytes());
        host.load(path).expect("the fixture loads");
        host.slot::<dyn BenchMemory>(&format!("bench-memory-{allocator}"))
            .expect("it serves")
    });

    let mut report = Report::new("allocators");
    report.heading("Allocating and freeing 16 to 256 bytes in a plugin, a pair; processor time");
    for (name, body) in BODIES {
        for threads in [1, 2] {
            let mut rounds: [Samples; 3] = Default::default();
            for round in 0..ROUNDS {
                // Each goes first as often as the others: the machine's own changes hit all alike.
                for turn in 0..slots.len() {
                    let which = (round + turn) % slots.len();
                    rounds[which].push(time(&slots[which], body, pairs, threads));
                }
            }
            let named = |allocator: &str| format!("{name}, {threads} thread(s): {allocator}");
            for (which, allocator) in ALLOCATORS.iter().enumerate() {
                let row = Row::new(named(allocator), &rounds[which], "ns");
                let row = match which {
                    0 => row,
                    _ => row
                        .against(&named(ALLOCATORS[0]), &rounds[which].over(&rounds[0]))
                        .at_most(PROMISES[which]),
                };
                report.row(if which > 0 && threads == 1 { row.quoted() } else { row });
            }
        }
    }
    report.finish()
}
