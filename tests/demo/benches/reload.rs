//! How long a reload takes, from the rename of the finished file into place to the first call answered by the new code, by
//! step, as a caller sees it: `cargo xtask bench reload`. The floor it is compared with, in the same rounds, is what any
//! loader must do: read the file, write a copy, dlopen, dlsym, dlclose.

use fixture_interfaces::{Counter, Probe};
use reslot::{Event, Host, Step};
use reslot_tests::{Fixture, Folder};
use std::{
    collections::BTreeMap,
    fs,
    hint::spin_loop,
    time::{Duration, Instant},
};

const ROUNDS: u64 = 300;

fn main() {
    let rounds = if std::env::args().any(|argument| argument == "--test") {
        3
    } else {
        ROUNDS
    };
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let (probe, counter) = (Fixture::build("fx-probe"), Fixture::build("fx-counter"));
    folder.publish("libprobe.so", &probe.stamped(0));
    folder.publish("libcounter.so", &counter.stamped(0));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .build()
        .expect("the host starts");
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").expect("it serves");
    let mut reader = host.reader();
    let mut claim = host.claim::<dyn Counter>("counter").expect("it serves");

    let (mut floor, mut shared, mut claimed) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=rounds {
        floor.push(bare(&elsewhere.publish("floor.so", &probe.stamped(n)), &elsewhere));

        let bytes = probe.stamped(n);
        let renamed = publish(&folder, "libprobe.so", &bytes);
        while reader.view().get(&slot).stamp().ok() != Some(n) {
            spin_loop();
        }
        shared.push(renamed.elapsed());

        let bytes = counter.stamped(n);
        let renamed = publish(&folder, "libcounter.so", &bytes);
        while claim.report().ok().map(|report| report.stamp) != Some(n) {
            claim.sync();
            spin_loop();
        }
        claimed.push(renamed.elapsed());
        assert!(host.wait_until_retired(Duration::from_secs(30)), "old images stay");
    }

    println!(
        "{rounds} rounds; artifacts of {} and {} KiB; the watch has no debounce window for a rename\n",
        probe.bytes().len() / 1024,
        counter.bytes().len() / 1024
    );
    println!("{:<58} {:>8} {:>8} {:>8} {:>7}", "µs", "median", "p90", "max", "ratio");
    let base = quantile(&mut floor, 0.5);
    for (name, times) in [
        ("floor: read, copy, dlopen, dlsym, dlclose", &mut floor),
        ("rename to first new answer, shared, no state", &mut shared),
        ("rename to first new answer, claimed, with state", &mut claimed),
    ] {
        let median = quantile(times, 0.5);
        let (p90, max) = (quantile(times, 0.9), quantile(times, 1.0));
        println!("{name:<58} {median:>8.0} {p90:>8.0} {max:>8.0} {:>7.2}", median / base);
    }
    println!("\nof which, by step (medians over both; the rest is the event's way from the kernel, and the caller's)");
    let mut steps: BTreeMap<Step, Vec<Duration>> = BTreeMap::new();
    while let Some(record) = events.try_recv() {
        if let Event::Swapped(report) = &record.event {
            for (step, took) in &report.steps {
                steps.entry(*step).or_default().push(*took);
            }
        }
    }
    for (step, times) in &mut steps {
        println!("  {:<56} {:>8.0}", step.to_string(), quantile(times, 0.5));
    }
}

/// Publishes, and answers when the rename began.
fn publish(folder: &Folder, name: &str, bytes: &[u8]) -> Instant {
    let (new, path) = (folder.path().join(".new.tmp"), folder.path().join(name));
    fs::write(&new, bytes).expect("the folder is writable");
    let begun = Instant::now();
    fs::rename(&new, &path).expect("the folder is writable");
    begun
}

/// What no loader can leave out.
fn bare(path: &std::path::Path, folder: &Folder) -> Duration {
    let begun = Instant::now();
    let bytes = fs::read(path).expect("it was just written");
    let copy = folder.path().join(format!("{:x}.so", begun.elapsed().as_nanos()));
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

fn quantile(times: &mut [Duration], at: f64) -> f64 {
    times.sort();
    let index = ((times.len() - 1) as f64 * at).round() as usize;
    times[index].as_secs_f64() * 1e6
}
