//! An embedder whose tracing subscriber calls the host. When a thread that a plugin has started panics, the subscriber is
//! called on that thread, with the plugin's frames on its stack: for this plugin's thread-locals that is no safe point. It
//! is a separate test binary, because a subscriber applies to the whole process.
#![forbid(unsafe_code)]

use fixture_interfaces::Probe;
use reslot::{Event, GenerationStatus, Host, Outcome};
use reslot_tests::{Fixture, Folder, at_each_event};
use std::{
    io::Write,
    os::unix::net::UnixListener,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(30);
static TOLD: AtomicU64 = AtomicU64::new(0);

fn looks_around() {
    TOLD.fetch_add(1, Ordering::Relaxed);
    // As `Slot::load`, `Reader::view`, `Events::try_recv` and most calls of the host do.
    reslot::safe_point();
}

#[test]
fn thread_of_an_ended_plugin_keeps_its_thread_locals_until_its_end() {
    at_each_event(looks_around);
    let (folder, host) = (
        Folder::new(),
        Host::builder().policy(reslot::Policy::without_probation()).build().unwrap(),
    );
    let mut events = host.events();
    host.load(folder.publish("a.so", Fixture::build("fx-lingering").bytes()))
        .unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    host.slot::<dyn Probe>("probe")
        .unwrap()
        .load()
        .echo(path.to_str().unwrap())
        .unwrap();
    let mut socket = listener.accept().unwrap().0;
    host.load(folder.publish("a.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    while host.who_holds("probe")[0].condition != GenerationStatus::Ending {
        std::thread::yield_now();
    }
    // The thread panics, and uses its thread-local while it unwinds.
    socket.write_all(b"words to panic with").unwrap();
    drop(socket);
    let mut panicked = false;
    loop {
        let record = events.recv_timeout(PATIENCE).expect("it goes on");
        match &record.event {
            Event::ThreadPanicked { .. } => panicked = true,
            Event::Retired(report) => {
                assert!(matches!(report.outcome, Outcome::Unmapped(_)), "{report:?}");
                break;
            }
            _ => {}
        }
    }
    assert!(panicked && TOLD.load(Ordering::Relaxed) > 2);
}
