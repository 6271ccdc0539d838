//! What comparing images with their artifacts costs: `cargo xtask bench scrub`. How long a mebibyte of an image takes, and what calls of a plugin
//! take while images are compared without pause, against calls while nothing is compared. A sample counts only if comparisons ended within it.

use fixture_interfaces::Probe;
use reslot::{Comparison, Host, Policy};
use reslot_bench::{Report, Row, Samples, micros, only_a_test};
use reslot_tests::{Fixture, Folder};
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 100;
const CALLS: u64 = 1_000_000;
/// How long calls are measured at most until a comparison has ended beside them.
const PATIENCE: Duration = Duration::from_secs(60);
const MEBIBYTE: f64 = (1 << 20) as f64;

fn main() -> anyhow::Result<()> {
    let (rounds, calls) = if only_a_test() { (3, 1000) } else { (ROUNDS, CALLS) };
    let (folder, fixture) = (Folder::new(), Fixture::build("fx-probe"));
    let host = Host::builder()
        .policy(Policy::without_probation())
        .build()
        .expect("the host starts");
    host.load(folder.publish(fixture.file(), &fixture.stamped(1)))
        .expect("the fixture loads");
    let slot = host.slot::<dyn Probe>("probe").expect("it serves");
    let mut reader = host.reader();
    let mut call = || {
        let begun = Instant::now();
        for _ in 0..calls {
            black_box(reader.view().get(&slot).stamp().expect("it answers"));
        }
        begun.elapsed().as_secs_f64() * 1e9 / calls as f64
    };

    let [mut without, mut with, mut compared] = <[Samples; 3]>::default();
    let (mut bytes, mut ran) = (0, 0);
    for _ in 0..rounds {
        without.push(call());
        let (done, compared_so_far) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let reports = black_box(host.verify_images());
                    let is_compared = |report: &reslot::ImageReport| matches!(report.comparison, Comparison::Compared(_));
                    assert!(!reports.is_empty() && reports.iter().all(is_compared), "{reports:?}");
                    compared_so_far.fetch_add(1, Ordering::Relaxed);
                }
            });
            let begun = Instant::now();
            let mut until_compared = || loop {
                let before = compared_so_far.load(Ordering::Relaxed);
                let took = call();
                match compared_so_far.load(Ordering::Relaxed) - before {
                    0 => assert!(begun.elapsed() < PATIENCE, "no comparison ended beside the calls"),
                    more => return (took, more),
                }
            };
            let (took, comparisons) = until_compared();
            with.push(took);
            ran += comparisons;
            done.store(true, Ordering::Relaxed);
        });
        for report in host.verify_images() {
            if let Comparison::Compared(parts) = report.comparison {
                assert!(parts.differences.is_empty(), "the image is intact");
                bytes = parts.bytes();
                compared.push(micros(parts.took) / (bytes as f64 / MEBIBYTE));
            }
        }
    }

    let mut report = Report::new("scrub");
    report.heading("Comparing images with their artifacts, while a processor is idle");
    let row = Row::new("a mebibyte of an image", &compared, "µs");
    report.row(row.note(format!("the image has {bytes} bytes that are compared")).quoted());
    report.heading("A call, while images are compared without pause");
    let base = "nothing is compared";
    report.row(Row::new(base, &without, "ns"));
    let row = Row::new("images are compared without pause", &with, "ns");
    let row = row.note(format!("{ran} comparisons ended within {rounds} samples"));
    report.row(row.against(base, &with.over(&without)).quoted());
    report.finish()
}
