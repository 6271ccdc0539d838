//! A plugin with the default allocator and without leaks: the heap has the same size after many reloads as before.

use fixture_interfaces::Probe;
use reslot::{Event, Events, Host, LoadOutcome, Outcome, Policy, UnloadReport};
use reslot_tests::{Fixture, Folder, allocated_bytes};
use std::{env, path::PathBuf, process::Command, time::Duration};

/// 20,000 take a minute or two: `RESLOT_TEST_RELOADS=20000`. Fewer are as good: what each leaves is measured to the byte.
const RELOADS: u64 = 2_000;
/// Until the host's history of events is full, and every buffer that grows has grown.
const WARM_UP: u64 = 1_500;
/// How many looks are taken after the warm-up and after the reloads. The least counts: a look may meet a thread that holds an
/// artifact for a moment, and what stays is in each of them.
const LOOKS: u64 = 200;
/// libc keeps up to 200 KB of freed blocks for each thread, which count as allocated, and a busy machine has the host start one more
/// thread for hooks. So the test runs in a child process, in which libc keeps none.
const NO_THREAD_CACHE: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0");
/// Set in the child process.
const IN_CHILD: &str = "RESLOT_TEST_HEAP";
/// The heap is torn into other pieces each time. A buffer of the standard library, or a list of `tracing`'s, is more than that.
const MOST_BYTES_A_RELOAD: usize = 24;
const PATIENCE: Duration = Duration::from_secs(60);

struct Reloads {
    host: Host,
    events: Events,
    files: [PathBuf; 2],
    _folder: Folder,
}

impl Reloads {
    fn of(package: &str) -> Self {
        let (folder, fixture) = (Folder::new(), Fixture::build(package));
        let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
        Self {
            events: host.events(),
            files: [1, 2].map(|build| folder.publish(&format!("{build}.so"), &fixture.stamped(build))),
            host,
            _folder: folder,
        }
    }

    fn swap(&self, number: u64) {
        let outcome = self.host.load(&self.files[number as usize % 2]).unwrap();
        assert!(matches!(outcome, LoadOutcome::Swapped(_)), "{outcome:?}");
    }

    /// Loads the next build and waits until the previous one is unmapped. Returns its unload report.
    fn replace(&mut self, number: u64) -> UnloadReport {
        self.swap(number);
        let mut told = std::iter::from_fn(|| self.events.recv_timeout(PATIENCE));
        let gone = told.find_map(|record| match &record.event {
            Event::Retired(report) => Some(report.outcome.clone()),
            _ => None,
        });
        match gone {
            Some(Outcome::Unmapped(report)) => report,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn heap_is_flat() {
    if env::var_os(IN_CHILD).is_none() {
        let _alone = crate::alone();
        Fixture::build("fx-stripped");
        let this = env::current_exe().unwrap();
        let child = Command::new(this)
            .args(["--exact", "flat::heap_is_flat", "--nocapture"])
            .env(IN_CHILD, "1")
            .env(NO_THREAD_CACHE.0, NO_THREAD_CACHE.1)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&child.stderr);
        eprint!("{printed}");
        assert!(child.status.success() && printed.contains("a reload"), "{child:?}");
        return;
    }
    // In a host with a subscriber each image gets one too, which `tracing` keeps for ever.
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    let reloads = env::var("RESLOT_TEST_RELOADS").map_or(RELOADS, |reloads| reloads.parse().unwrap());
    let mut place = Reloads::of("fx-stripped");
    place.swap(0);
    let mut number = 0;
    // Reloads so often, and answers the least that was held after one of the last.
    let mut reload = |times: u64| {
        let looks = (0..times).map(|time| {
            number += 1;
            let slot = place.host.slot::<dyn Probe>("probe").unwrap();
            assert_eq!(slot.load().echo("a text").unwrap(), "a text");
            let left = place.replace(number);
            assert_eq!(left.live_bytes_left, Some(0), "{left:?}");
            if time + LOOKS < times { usize::MAX } else { allocated_bytes() }
        });
        looks.min().unwrap()
    };
    let first = reload(WARM_UP);
    let last = reload(reloads);
    let each = last.saturating_sub(first) as f64 / reloads as f64;
    eprintln!("{first} bytes before {reloads} reloads, {last} after them: {each:.1} a reload");
    assert!(
        each < MOST_BYTES_A_RELOAD as f64,
        "{first} bytes grew to {last}: {each:.1} a reload"
    );
}
