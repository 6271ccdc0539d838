//! Plugins in processes of their own, through a host: calls, states, reloads, and each way in which such a process can end.

use fixture_interfaces::{Counter, Listener, Misbehaving, Misdeed};
use reslot::{
    CallError, Cause, Claim, EndCause, EngineKind, Event, Events, Fault, Host, InstanceEnd, LoadOutcome, Policy, Refusal,
    SyncOutcome,
};
use reslot_process::{Checkpoint, Process, Sandbox};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    os::fd::AsRawFd,
    path::Path,
    time::{Duration, Instant},
};

/// Much longer than needed; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn engine() -> Process {
    Process::new().program(env!("CARGO_BIN_EXE_reslot-child"))
}

/// A host with one slot, whose plugins run in processes.
struct Place {
    host: Host,
    events: Events,
    folder: Folder,
}

impl Place {
    fn new(slot: &str, engine: Process, policy: Policy) -> Self {
        let host = Host::builder()
            .policy(policy)
            .engine(slot, engine)
            .build()
            .expect("the host starts");
        Self {
            events: host.events(),
            host,
            folder: Folder::new(),
        }
    }

    fn try_load(&self, package: &str, stamp: u64) -> Result<LoadOutcome, Refusal> {
        let fixture = Fixture::build(package);
        let bytes = if stamp == 0 {
            fixture.bytes().to_vec()
        } else {
            fixture.stamped(stamp)
        };
        self.host.load(self.folder.publish(&format!("lib{package}.so"), &bytes))
    }

    fn load(&self, package: &str, stamp: u64) -> LoadOutcome {
        self.try_load(package, stamp).unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    fn wait_for<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let record = self.events.recv_timeout(left).expect("the event comes");
            if let Some(found) = wanted(&record.event) {
                return found;
            }
        }
    }
}

/// A misbehaving plugin behind this engine.
fn misbehaving(engine: Process) -> (Place, Claim<dyn Misbehaving>) {
    let place = Place::new("misbehaves", engine, Policy::without_probation());
    place.load("fx-misbehaves", 0);
    let claim = place.host.claim::<dyn Misbehaving>("misbehaves").expect("it serves");
    (place, claim)
}

fn end_of(error: &CallError) -> InstanceEnd {
    match error.fault() {
        Fault::InstanceEnded(end) => end.clone(),
        _ => panic!("{error}"),
    }
}

/// Whether a process with this number exists, also as a zombie.
fn exists(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

struct Hears<F>(F);

impl<F: FnMut(u64) -> u64> Listener for Hears<F> {
    fn hear(&mut self, n: u64) -> u64 {
        (self.0)(n)
    }
}

#[test]
fn claim_calls_and_reloads_a_plugin_in_a_process() {
    let place = Place::new("counter", engine(), Policy::without_probation());
    place.load("fx-counter", 1);
    let mut counter = place.host.claim::<dyn Counter>("counter").expect("it serves");
    let info = place
        .host
        .slots()
        .into_iter()
        .find(|info| info.name == "counter")
        .expect("the slot");
    assert_eq!(info.engine, Some(EngineKind::Process));
    assert_eq!(counter.add(2).expect("it answers"), 2);
    let mut heard = Vec::new();
    let mut hears = Hears(|n| {
        heard.push(n);
        n * 2
    });
    assert_eq!(counter.tell(&mut hears).expect("it answers"), 4);
    assert_eq!(heard, [2]);
    for stamp in 2..6 {
        place.load("fx-counter", stamp);
        assert!(matches!(Claim::sync(&mut counter), SyncOutcome::Adopted { .. }));
        let report = counter.report().expect("it answers");
        assert_eq!((report.total, report.stamp), (2, stamp));
    }
    let error = counter.fail("it slipped").expect_err("it panics");
    let Fault::Panicked { message, location, .. } = error.fault() else {
        panic!("{error}")
    };
    assert_eq!(&**message, "it slipped");
    let place_of_it = location.as_ref().expect("it has a place");
    assert!(place_of_it.contains("counter/src/lib.rs"), "{place_of_it}");
    assert_eq!(counter.add(1).expect("a panic leaves the instance"), 4);
}

#[test]
fn nothing_is_left_of_a_process() {
    let (place, mut claim) = misbehaving(engine().sandbox(Sandbox::strict()));
    let pid = claim.act(Misdeed::Nothing).expect("it answers");
    assert!(exists(pid) && pid != u64::from(std::process::id()));
    drop(claim);
    drop(place);
    assert!(!exists(pid), "neither process nor zombie");
    let maps = fs::read_to_string("/proc/self/maps").expect("the map can be read");
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").expect("the threads can be listed");
        tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .collect::<Vec<_>>()
    };
    assert!(!maps.contains("misbehaves"));
    let own = format!("reslot-child-{pid}\n");
    wait_until("its thread ends", || {
        !threads().iter().any(|name| own.starts_with(name.trim_end()))
    });
}

#[test]
fn large_messages_cross() {
    let (_place, claim) = misbehaving(engine());
    for len in [0, 1, 300_000, 3_000_000] {
        let text = "ä".repeat(len);
        assert!(claim.echo(&text).expect("it answers") == text, "{len} letters");
    }
    let (_place, claim) = misbehaving(engine().message_bytes(1 << 20));
    let error = claim.echo(&"a".repeat(2 << 20)).expect_err("it is too long");
    assert!(
        matches!(error.fault(), Fault::NotCarried { reason } if reason.contains("message_bytes")),
        "{error}"
    );
    assert_eq!(claim.echo("short").expect("the instance lives"), "short");
}

#[test]
fn loop_is_killed_at_the_deadline() {
    let limit = Duration::from_millis(100);
    let (_place, mut claim) = misbehaving(engine().call_deadline(limit));
    let pid = claim.act(Misdeed::Nothing).expect("it answers");
    let begun = Instant::now();
    let end = end_of(&claim.act(Misdeed::Loop).expect_err("it is killed"));
    assert!(begun.elapsed() >= limit);
    assert_eq!(end.cause, EndCause::Deadline { limit });
    assert!(!exists(pid), "it was reaped");
}

#[test]
fn child_that_takes_no_message_is_killed_at_the_deadline() {
    let limit = Duration::from_millis(100);
    let (_place, mut claim) = misbehaving(engine().call_deadline(limit));
    let end = end_of(&claim.act(Misdeed::Stop).expect_err("it stops"));
    assert_eq!(end.cause, EndCause::Deadline { limit });
}

#[test]
fn time_in_objects_of_the_caller_does_not_count() {
    let limit = Duration::from_millis(100);
    let (_place, mut claim) = misbehaving(engine().call_deadline(limit));
    let mut slow = Hears(|n| {
        let begun = Instant::now();
        while begun.elapsed() < 2 * limit {
            std::thread::yield_now();
        }
        n + 1
    });
    assert_eq!(claim.ask(&mut slow).expect("it answers"), 1);
}

#[test]
fn wild_pointer_is_an_error_with_its_signal() {
    let (_place, mut claim) = misbehaving(engine());
    let end = end_of(&claim.act(Misdeed::WildPointer).expect_err("it crashes"));
    assert!(
        matches!(
            end.cause,
            EndCause::Signal {
                signal: libc::SIGSEGV,
                ..
            }
        ),
        "{end}"
    );
    let end = end_of(&claim.act(Misdeed::Nothing).expect_err("it has ended"));
    assert!(
        matches!(
            end.cause,
            EndCause::Signal {
                signal: libc::SIGSEGV,
                ..
            }
        ),
        "{end}"
    );
}

#[test]
fn abort_is_an_error_with_its_last_words() {
    let (_place, mut claim) = misbehaving(engine());
    let end = end_of(&claim.act(Misdeed::Abort).expect_err("it aborts"));
    let EndCause::Signal { signal, last_words } = &end.cause else {
        panic!("{end}")
    };
    assert_eq!(*signal, libc::SIGABRT);
    assert!(last_words.contains("the last that it says"), "{last_words}");
}

#[test]
fn exit_is_an_error_with_its_code() {
    let (_place, mut claim) = misbehaving(engine());
    let end = end_of(&claim.act(Misdeed::Exit).expect_err("it exits"));
    assert!(matches!(end.cause, EndCause::Exited { code: 0, .. }), "{end}");
}

#[test]
fn memory_limit_is_an_error() {
    let bytes = 64 << 20;
    let (_place, mut claim) = misbehaving(engine().memory(bytes));
    let end = end_of(&claim.act(Misdeed::EatMemory).expect_err("it has no memory"));
    assert_eq!(end.cause, EndCause::MemoryLimit { bytes });
}

#[test]
fn child_killed_in_the_middle_of_a_callback_is_an_error() {
    let (_place, mut claim) = misbehaving(engine());
    let pid = claim.act(Misdeed::Nothing).expect("it answers");
    let mut kills = Hears(|n| {
        let number = rustix::process::Pid::from_raw(pid.try_into().expect("a number")).expect("a process");
        rustix::process::kill_process(number, rustix::process::Signal::KILL).expect("it can be killed");
        n
    });
    let end = end_of(&claim.ask(&mut kills).expect_err("it is gone"));
    assert!(
        matches!(
            end.cause,
            EndCause::Signal {
                signal: libc::SIGKILL,
                ..
            }
        ),
        "{end}"
    );
    assert!(!exists(pid), "it was reaped");
}

#[test]
fn child_that_writes_over_the_shared_memory_is_ended() {
    let (_place, mut claim) = misbehaving(engine().call_deadline(Duration::from_millis(500)));
    let pid = claim.act(Misdeed::Nothing).expect("it answers");
    // What comes back before the host notices is wrong, and valid.
    let _ = claim.act(Misdeed::ScribbleOverSharedMemory);
    let end = loop {
        match claim.echo("text") {
            Err(error) if matches!(error.fault(), Fault::InstanceEnded(_)) => break end_of(&error),
            _ => {}
        }
    };
    // Either side may notice first: the host finds a turn that does not exist, or the child does and exits, or neither finds its turn.
    assert!(
        matches!(
            end.cause,
            EndCause::Protocol { .. } | EndCause::Exited { .. } | EndCause::Deadline { .. }
        ),
        "{end}"
    );
    assert!(!exists(pid), "it was reaped");
}

#[test]
fn end_that_no_call_meets_is_found() {
    let mut place = Place::new("misbehaves", engine(), Policy::without_probation());
    place.load("fx-misbehaves", 0);
    let mut claim = place.host.claim::<dyn Misbehaving>("misbehaves").expect("it serves");
    let pid = claim.act(Misdeed::Nothing).expect("it answers");
    let number = rustix::process::Pid::from_raw(pid.try_into().expect("a number")).expect("a process");
    rustix::process::kill_process(number, rustix::process::Signal::KILL).expect("it can be killed");
    wait_until("it is reaped", || !exists(pid));
    end_of(&claim.add(1).expect_err("it has ended"));
    place.wait_for(|event| matches!(event, Event::InstanceEnded { .. }).then_some(()));
}

#[test]
fn strict_sandbox_lets_a_computing_plugin_compute() {
    let (_place, mut claim) = misbehaving(engine().sandbox(Sandbox::strict()));
    assert_eq!(claim.add(3).expect("it answers"), 3);
    assert_eq!(claim.act(Misdeed::Thread).expect("threads are its own affair"), 1);
    let error = claim.fail("it slipped").expect_err("it panics");
    assert!(matches!(error.fault(), Fault::Panicked { .. }), "{error}");
    assert_eq!(
        claim.read("/etc/passwd").expect("it answers"),
        "Permission denied (os error 13)"
    );
}

#[test]
fn sandbox_opens_what_is_named() {
    let folder = Folder::new();
    let file = folder.publish("quotes.txt", b"1.25");
    let name = file.to_str().expect("UTF-8");
    let (_place, claim) = misbehaving(engine().sandbox(Sandbox::strict()));
    assert_eq!(claim.read(name).expect("it answers"), "Permission denied (os error 13)");
    let (_place, claim) = misbehaving(engine().sandbox(Sandbox::strict().readable(folder.path())));
    assert_eq!(claim.read(name).expect("it answers"), "");
    let (_place, claim) = misbehaving(engine());
    assert_eq!(claim.read("/etc/passwd").expect("it answers"), "");
}

#[test]
fn fork_and_socket_and_limits_of_the_host_end_a_sandboxed_process() {
    for misdeed in [Misdeed::Fork, Misdeed::Socket, Misdeed::LimitTheHost] {
        let (_place, mut claim) = misbehaving(engine().sandbox(Sandbox::strict()));
        let end = end_of(&claim.act(misdeed).expect_err("it is forbidden"));
        assert!(
            matches!(
                end.cause,
                EndCause::Signal {
                    signal: libc::SIGSYS,
                    ..
                }
            ),
            "{misdeed:?}: {end}"
        );
    }
}

#[test]
fn sandboxed_process_gets_no_memory_beside_its_limit_and_no_descriptor_of_the_host() {
    let memory = engine().memory(64 << 20).sandbox(Sandbox::strict());
    let (_place, mut claim) = misbehaving(memory);
    assert_eq!(claim.act(Misdeed::SharedMemory).expect("it answers"), 0);
    let before = claim.act(Misdeed::CountDescriptors).expect("it answers");
    // As a C library leaves them: open for programs that the host starts.
    let file = fs::File::open("/dev/null").expect("it is there");
    // SAFETY: the descriptor is this file's.
    let inherited = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, 100) };
    assert!(inherited >= 100);
    let (_place, mut claim) = misbehaving(engine().sandbox(Sandbox::strict()));
    assert_eq!(claim.act(Misdeed::CountDescriptors).expect("it answers"), before);
    // SAFETY: as above.
    unsafe { libc::close(inherited) };
}

#[test]
fn kernel_without_landlock_is_refused_or_good_enough() {
    let old = Sandbox::strict().without_landlock();
    let place = Place::new("misbehaves", engine().sandbox(old.clone()), Policy::without_probation());
    let refusal = place.try_load("fx-misbehaves", 0).expect_err("it is refused");
    assert!(refusal.to_string().contains("landlock"), "{refusal}");
    let (_place, mut claim) = misbehaving(engine().sandbox(old.best_effort()));
    end_of(&claim.act(Misdeed::Fork).expect_err("the rest of the sandbox is there"));
}

#[test]
fn calls_since_the_last_checkpoint_are_lost() {
    let exits = |engine: Process| {
        let (place, mut claim) = misbehaving(engine);
        for _ in 0..5 {
            claim.add(1).expect("it answers");
        }
        let end = end_of(&claim.act(Misdeed::Exit).expect_err("it exits"));
        drop(place);
        end.lost_calls
    };
    assert_eq!(exits(engine()), 5);
    assert_eq!(exits(engine().checkpoint(Checkpoint::EveryCalls(2))), 1);
    assert_eq!(exits(engine().checkpoint(Checkpoint::EveryCalls(1))), 0);
    assert_eq!(exits(engine().checkpoint(Checkpoint::Every(Duration::ZERO))), 0);
}

#[test]
fn spinning_calls_answer() {
    let (_place, mut claim) = misbehaving(engine().spin(Duration::from_micros(50)));
    for n in 1..1000 {
        assert_eq!(claim.add(1).expect("it answers"), n);
    }
}

#[test]
fn borrowed_result_and_peers_are_refused() {
    for (package, slot, words) in [
        ("fx-shared-counter", "shared-counter", "SharedCounter::label"),
        ("fx-caller", "caller", "cannot call other plugins"),
    ] {
        let place = Place::new(slot, engine(), Policy::without_probation());
        let refusal = place.try_load(package, 1).expect_err("it is refused");
        assert!(matches!(*refusal.cause, Cause::Open(_)), "{refusal}");
        assert!(refusal.to_string().contains(words), "{refusal}");
    }
}

#[test]
fn missing_program_is_a_refusal_that_names_it() {
    let place = Place::new(
        "counter",
        Process::new().program("/nowhere/reslot-child"),
        Policy::without_probation(),
    );
    let refusal = place.try_load("fx-counter", 1).expect_err("it is refused");
    assert!(refusal.to_string().contains("/nowhere/reslot-child"), "{refusal}");
}
