//! An embedder whose tracing subscriber panics at each event. It is a separate test binary, because a subscriber applies to
//! the whole process.
#![forbid(unsafe_code)]

use fixture_interfaces::Probe;
use reslot::{Event, Host, Outcome};
use reslot_tests::{Fixture, Folder, at_each_event};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

static TOLD: AtomicU64 = AtomicU64::new(0);

fn panics() {
    TOLD.fetch_add(1, Ordering::Relaxed);
    panic!("this subscriber has a bug");
}

#[test]
fn subscriber_that_panics_costs_the_host_nothing() {
    at_each_event(panics);
    // The panics' messages would fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(folder.path())
        .build()
        .unwrap();
    let mut events = host.events();
    for stamp in 1..=10 {
        folder.publish("libprobe.so", &probe.stamped(stamp));
        let retired = stamp.checked_sub(1).filter(|before| *before > 0);
        loop {
            let record = events.recv_timeout(Duration::from_secs(30)).expect("the host goes on");
            match &record.event {
                Event::Swapped(_) if retired.is_none() => break,
                Event::Retired(report) => {
                    assert_eq!(Some(report.generation), retired);
                    assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:?}");
                    break;
                }
                _ => {}
            }
        }
        let slot = host.slot::<dyn Probe>("probe").unwrap();
        assert_eq!(slot.load().stamp().unwrap(), stamp);
        slot.load().fail("contained").unwrap_err();
    }
    folder.publish("bad.so", b"no library");
    while !matches!(
        events.recv_timeout(Duration::from_secs(30)).expect("it is told").event,
        Event::Refused(_)
    ) {}
    assert!(TOLD.load(Ordering::Relaxed) > 10);
}
