//! A plugin with the default allocator and without leaks: the heap has the same size after many reloads as before.

use fixture_interfaces::Probe;
use reslot::{Event, Events, Host, LoadOutcome, Outcome, Policy, UnloadReport};
use reslot_tests::{Fixture, Folder, allocated_bytes};
use std::{env, path::PathBuf, time::Duration};

/// 20,000 take a minute or two: `RESLOT_TEST_RELOADS=20000`. Fewer are as good: what each leaves is told to the byte.
const RELOADS: u64 = 2_000;
/// Until the host's history of events is full, and every buffer that grows has grown.
const WARM_UP: u64 = 1_500;
/// How many looks are taken after the warm-up and after the reloads. The least counts: a look may meet a thread that holds an
/// artifact for a moment, and what stays is in each of them.
const LOOKS: u64 = 200;
/// How often the reloads are made again if the heap has grown. The allocator keeps up to 200 KB for each thread, which count as held, and a
/// busy machine has the host start one more thread for hooks. What each reload leaves makes the heap grow each time.
const TRIES: u64 = 3;
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
    let _alone = crate::alone();
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
    let mut first = reload(WARM_UP);
    for again in 1.. {
        let last = reload(reloads);
        let each = last.saturating_sub(first) as f64 / reloads as f64;
        eprintln!("{first} bytes before {reloads} reloads, {last} after them: {each:.1} a reload");
        if each < MOST_BYTES_A_RELOAD as f64 {
            break;
        }
        assert!(again < TRIES, "{first} bytes grew to {last}: {each:.1} a reload");
        first = last;
    }
}
