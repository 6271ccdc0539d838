//! A plugin with the default allocator that leaves nothing behind: the heap holds as much after many reloads as before.

use fixture_interfaces::Probe;
use reslot::{Event, Events, Host, LoadOutcome, Outcome, Policy, UnloadReport};
use reslot_tests::{Fixture, Folder, allocated_bytes};
use std::{env, path::PathBuf, time::Duration};

/// 20,000 take a minute or two: `RESLOT_TEST_RELOADS=20000`. Fewer are as good: what each leaves is told to the byte.
const RELOADS: u64 = 3_500;
/// Until the host's history of events is full, and every buffer that grows has grown.
const WARM_UP: u64 = 1_500;
/// So many looks at the end of the warm-up and at the end of the test. The least counts: a look may meet a thread that holds an
/// artifact for a moment, and what stays is in each of them.
const LOOKS: u64 = 200;
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

    /// The next build takes over, and the one before is gone. Answers what it left.
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
    // The image of a host with a subscriber gets one as well, which `tracing` keeps for good.
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink).finish();
    let _ = tracing::subscriber::set_global_default(subscriber);
    let reloads = env::var("RESLOT_TEST_RELOADS").map_or(RELOADS, |reloads| reloads.parse().unwrap());
    let mut place = Reloads::of("fx-stripped");
    place.swap(0);
    let mut held = Vec::new();
    for number in 1..=reloads {
        let slot = place.host.slot::<dyn Probe>("probe").unwrap();
        assert_eq!(slot.load().echo("a text").unwrap(), "a text");
        let left = place.replace(number);
        assert_eq!(left.live_bytes_left, Some(0), "{left:?}");
        if number + LOOKS > WARM_UP && number <= WARM_UP || number + LOOKS > reloads {
            held.push(allocated_bytes());
        }
    }
    let least = |looks: &[usize]| *looks.iter().min().unwrap();
    let (first, last) = (least(&held[..LOOKS as usize]), least(&held[LOOKS as usize..]));
    let each = last.saturating_sub(first) as f64 / (reloads - WARM_UP) as f64;
    eprintln!("{first} bytes after {WARM_UP} reloads, {last} after {reloads}: {each:.1} a reload");
    assert!(
        each < MOST_BYTES_A_RELOAD as f64,
        "{first} bytes grew to {last}: {each:.1} a reload"
    );
}
