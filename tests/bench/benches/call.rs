//! What a call costs, as a ratio to a bare `extern "C"` pointer call of the same body in the same library, measured in
//! interleaved rounds of one run: `cargo xtask bench call`.

use fixture_interfaces::{BenchOwned, BenchShared};
use reslot::{Claim, Host, Slot};
use reslot_tests::{Fixture, Folder};
use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

const ROUNDS: usize = 11;
const CALLS: u64 = 20_000_000;

type Bare = unsafe extern "C" fn(*mut u64, u64) -> u64;

/// One way to call, timed: nanoseconds a call.
fn time(calls: u64, mut call: impl FnMut(u64) -> u64) -> f64 {
    let begun = Instant::now();
    let mut x = black_box(0);
    for _ in 0..calls {
        x = call(x);
    }
    black_box(x);
    begun.elapsed().as_secs_f64() * 1e9 / calls as f64
}

/// The same on two threads at once; each makes its own caller.
fn time_on_two<C: FnMut(u64) -> u64>(calls: u64, caller: impl Fn() -> C + Sync) -> f64 {
    let both = thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| time(calls, caller())));
        threads.map(|thread| thread.join().expect("a caller panicked"))
    });
    both[0].max(both[1])
}

struct Row {
    name: &'static str,
    against: usize,
    promise: Option<f64>,
    rounds: Vec<f64>,
}

fn main() {
    // `cargo test --benches` and the like only want to know that it runs.
    let calls = if std::env::args().any(|argument| argument == "--test") {
        1_000
    } else {
        CALLS
    };
    let (folder, owned, shared) = (
        Folder::new(),
        Fixture::build("fx-bench-owned"),
        Fixture::build("fx-bench-shared"),
    );
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .build()
        .expect("the host starts");
    let path = folder.publish("owned.so", owned.bytes());
    host.load(&path).expect("the fixture loads");
    host.load(folder.publish("shared.so", shared.bytes()))
        .expect("the fixture loads");

    // The same again on hosts that count, or time, each call of a probation.
    let mut counting = reslot::Policy::development();
    counting.probation = Duration::from_secs(3600);
    counting.probation_calls = u64::MAX;
    let mut timing = reslot::Policy::development();
    timing.probation = Duration::from_secs(3600);
    timing.call_deadline = Some(Duration::from_secs(60));
    let watched = [counting, timing].map(|policy| {
        let host = Host::builder().policy(policy).build().expect("the host starts");
        host.load(&path).expect("the fixture loads");
        host.load(folder.publish("shared.so", shared.bytes()))
            .expect("the fixture loads");
        host
    });
    let mut watched_claims = watched.each_ref().map(|host| {
        let claim: Claim<dyn BenchOwned> = host.claim("bench-owned").expect("it serves");
        claim
    });
    let mut watched_readers = watched.each_ref().map(|host| {
        let slot: Slot<dyn BenchShared> = host.slot("bench-shared").expect("it serves");
        (slot, host.reader())
    });

    // SAFETY: our own fixture; its static constructors are std's.
    let library = unsafe { libloading::Library::new(&path) }.expect("the fixture opens");
    // SAFETY: the fixture defines it with this signature.
    let bare: Bare = black_box(*unsafe { library.get::<Bare>(b"bare_add") }.expect("the fixture exports it"));

    let mut claim: Claim<dyn BenchOwned> = host.claim("bench-owned").expect("it serves");
    let slot: Slot<dyn BenchShared> = host.slot("bench-shared").expect("it serves");
    let mut reader = host.reader();

    let mut rows = [
        ("bare extern \"C\" pointer", 0, None),
        ("claimed", 0, Some(1.10)),
        ("claimed, with sync() before each call", 0, None),
        ("view, one for all calls", 0, None),
        ("reader.view() before each call", 0, Some(1.5)),
        ("slot.load() for each call", 0, None),
        ("bare, two threads", 6, None),
        ("reader.view(), two threads, reading", 6, None),
        ("slot.load(), two threads, reading", 6, None),
        ("probation_calls, on probation: claimed", 0, None),
        ("probation_calls, on probation: view", 0, None),
        ("call_deadline, on probation: claimed", 0, None),
        ("call_deadline, on probation: view", 0, None),
    ]
    .map(|(name, against, promise)| Row {
        name,
        against,
        promise,
        rounds: Vec::new(),
    });
    for _ in 0..ROUNDS {
        let mut count = 0;
        // SAFETY: `count` is alive and nobody else's.
        let bare_call = |x| unsafe { bare(&raw mut count, x) };
        rows[0].rounds.push(time(calls, bare_call));
        rows[1].rounds.push(time(calls, |x| claim.add(x).unwrap_or(0)));
        rows[2].rounds.push(time(calls, |x| {
            claim.sync();
            claim.add(x).unwrap_or(0)
        }));
        let view = reader.view();
        rows[3].rounds.push(time(calls, |x| view.get(&slot).add(x).unwrap_or(0)));
        rows[4]
            .rounds
            .push(time(calls, |x| reader.view().get(&slot).add(x).unwrap_or(0)));
        rows[5].rounds.push(time(calls / 4, |x| slot.load().add(x).unwrap_or(0)));
        rows[6].rounds.push(time_on_two(calls, || {
            let mut count = 0;
            // SAFETY: `count` is this caller's own.
            move |x| unsafe { bare(&raw mut count, x) }
        }));
        rows[7].rounds.push(time_on_two(calls, || {
            let mut reader = host.reader();
            let slot = &slot;
            move |x| reader.view().get(slot).read(x).unwrap_or(0)
        }));
        rows[8]
            .rounds
            .push(time_on_two(calls / 4, || |x| slot.load().read(x).unwrap_or(0)));
        for (at, claim) in watched_claims.iter_mut().enumerate() {
            rows[9 + 2 * at].rounds.push(time(calls / 10, |x| claim.add(x).unwrap_or(0)));
        }
        for (at, (slot, reader)) in watched_readers.iter_mut().enumerate() {
            rows[10 + 2 * at]
                .rounds
                .push(time(calls / 10, |x| reader.view().get(slot).add(x).unwrap_or(0)));
        }
    }

    println!("median of {ROUNDS} interleaved rounds of {calls} calls; ratios are medians of the rounds' own ratios\n");
    println!("{:<40} {:>8} {:>8} {:>8}  promised", "path", "ns", "ratio", "spread");
    for row in &rows {
        let ratios: Vec<f64> = row
            .rounds
            .iter()
            .zip(&rows[row.against].rounds)
            .map(|(this, that)| this / that)
            .collect();
        let (low, high) = ratios
            .iter()
            .fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
        let promised = row.promise.map_or(String::new(), |most| {
            let held = if median(&ratios) <= most { "held" } else { "NOT HELD" };
            format!("at most {most:.2}: {held}")
        });
        println!(
            "{:<40} {:>8.2} {:>8.2} {:>8}  {promised}",
            row.name,
            median(&row.rounds),
            median(&ratios),
            format!("{low:.2}-{high:.2}"),
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
