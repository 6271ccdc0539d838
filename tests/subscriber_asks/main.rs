//! One embedder has a tracing subscriber that calls the host at each event, on the event's thread; another one has a
//! subscriber that waits for a lock that a caller of the plugin holds. Neither may wait for ever. It is a separate test
//! binary, because a subscriber applies to the whole process; its tests run one after the other.

#[allow(dead_code)]
#[path = "../scenarios/moody.rs"]
mod moody;
#[allow(dead_code)]
#[path = "../scenarios/support.rs"]
mod support;

use crate::{
    moody::on_probation,
    support::{Gate, PATIENCE, wait_for},
};
use fixture_interfaces::{Counter, Hook, How, Mood, Moody, MoodyOwned, Tuned};
use reslot::{
    Cause, Claim, Event, Events, Host, LoadOutcome, Policy, Refusal, RollbackTarget, SyncOutcome,
    config::{Configuration, Layers},
};
use reslot_tests::{Fixture, Folder, at_each_event};
use std::{
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{
        Condvar, Mutex, MutexGuard, Once, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

/// The host that the subscriber calls; none while it must not call it, or while the host is about to be dropped.
static HOST: RwLock<Option<Host>> = RwLock::new(None);
static ASKED: AtomicU64 = AtomicU64::new(0);
static CONFIRMS: AtomicBool = AtomicBool::new(false);
/// The refusals on the reload thread of requests that only that thread could serve.
static WITHIN: Mutex<Vec<Refusal>> = Mutex::new(Vec::new());
/// A lock of the embedder.
static LOCK: Mutex<()> = Mutex::new(());
static TAKES_LOCK: AtomicBool = AtomicBool::new(false);
/// True once a reader of events has received an adoption. On the thread `owner` the subscriber waits for this.
static HEARD: Mutex<bool> = Mutex::new(false);
static SAID: Condvar = Condvar::new();

fn asks() {
    if TAKES_LOCK.load(Ordering::Acquire) {
        drop(held(&LOCK));
    }
    if thread::current().name() == Some("owner") {
        let _heard = SAID.wait_while(held(&HEARD), |heard| !*heard);
        return;
    }
    let Ok(host) = HOST.try_read() else { return };
    let Some(host) = &*host else { return };
    ASKED.fetch_add(1, Ordering::Relaxed);
    if let Ok(slot) = host.slot::<dyn Moody>("moody") {
        let _ = slot.load().total();
    }
    drop(host.claim::<dyn MoodyOwned>("moody"));
    drop(host.claim::<dyn Counter>("counter"));
    drop((host.slots(), host.who_holds("moody")));
    let confirmed = if CONFIRMS.load(Ordering::Relaxed) { "moody" } else { "nobody" };
    let _ = host.confirm(confirmed);
    if thread::current().name() == Some("reslot-reload") {
        let path = Path::new("nothing.so");
        let mut within = held(&WITHIN);
        within.extend(host.load(path).err());
        within.extend(host.load_together([path]).err());
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The host that the subscriber calls.
fn host() -> Asked {
    Asked(HOST.read().unwrap())
}

struct Asked(RwLockReadGuard<'static, Option<Host>>);

impl std::ops::Deref for Asked {
    type Target = Host;

    fn deref(&self) -> &Host {
        self.0.as_ref().expect("it is there")
    }
}

/// Makes the subscriber call this host from now on.
fn ask(host: Host) -> Events {
    let events = host.events();
    *HOST.write().unwrap() = Some(host);
    events
}

/// Ends the host.
fn end() {
    let host = HOST.write().unwrap().take();
    drop(host);
}

/// Runs one test at a time, with a time limit.
fn alone(body: impl FnOnce() + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    static SUBSCRIBED: Once = Once::new();
    let _turn = held(&TURN);
    SUBSCRIBED.call_once(|| at_each_event(asks));
    let (done, ended) = mpsc::channel::<()>();
    let running = thread::spawn(move || {
        let _done = done;
        body();
    });
    assert_eq!(
        ended.recv_timeout(2 * PATIENCE),
        Err(mpsc::RecvTimeoutError::Disconnected),
        "somebody waits for himself"
    );
    if let Err(panic) = running.join() {
        resume_unwind(panic);
    }
}

fn mood(test: u64, build: u64, hook: Hook) -> Mood {
    let how = How::Hangs;
    Mood { hook, how, test, build }
}

fn publish(folder: &Folder, package: &str, mood: Mood) -> PathBuf {
    folder.publish("libmoody.so", &Fixture::build(package).stamped(mood.stamp()))
}

fn load(folder: &Folder, package: &str, build: u64) -> LoadOutcome {
    let path = publish(folder, package, mood(1, build, Hook::None));
    host().load(path).unwrap_or_else(|refusal| panic!("{refusal}"))
}

/// All events so far.
fn told(mut events: Events) -> Vec<Event> {
    std::iter::from_fn(|| events.try_recv())
        .map(|record| record.event.clone())
        .collect()
}

#[track_caller]
fn assert_reported(told: &[Event], wanted: impl Fn(&Event) -> bool) {
    assert!(told.iter().any(wanted), "{told:#?}");
}

#[test]
fn host_is_asked_at_every_event_of_a_gated_slot() {
    alone(|| {
        for confirms in [false, true] {
            CONFIRMS.store(confirms, Ordering::Relaxed);
            let (folder, before) = (Folder::new(), ASKED.load(Ordering::Relaxed));
            let mut events = ask(Host::builder().policy(on_probation()).build().unwrap());
            let all = host().events();
            host()
                .load(folder.publish("counter.so", Fixture::build("fx-counter").bytes()))
                .unwrap();
            load(&folder, "fx-moody", 1);
            load(&folder, "fx-moody", 2);
            let slot = host().slot::<dyn Moody>("moody").unwrap();
            slot.load().fail("it slipped").unwrap_err();
            wait_for(&mut events, |event| matches!(event, Event::CallFailed { .. }).then_some(()));
            if !confirms {
                wait_for(&mut events, |event| matches!(event, Event::RolledBack(_)).then_some(()));
            }
            load(&folder, "fx-moody", 3);
            // The rollback uses the standby, or a version from the history, which the reload thread loads.
            let back = host().rollback("moody", RollbackTarget::Previous).unwrap();
            assert!(
                matches!(back, LoadOutcome::RolledBack(_) | LoadOutcome::Swapped(_)),
                "{back:?}"
            );
            host().load(folder.publish("bad.so", b"no library")).unwrap_err();
            assert!(slot.load().total().is_ok());
            drop(slot);
            end();
            let told = told(all);
            assert_reported(&told, |event| matches!(event, Event::Swapped(_)));
            assert_reported(&told, |event| matches!(event, Event::RolledBack(_)));
            assert_reported(&told, |event| matches!(event, Event::Refused(_)));
            assert_eq!(
                confirms,
                told.iter()
                    .any(|event| matches!(event, Event::Confirmed { generation, .. } if *generation > 1))
            );
            assert!(ASKED.load(Ordering::Relaxed) > before + 10);
        }
    });
}

#[test]
fn host_is_asked_at_every_event_of_a_claim() {
    alone(|| {
        CONFIRMS.store(false, Ordering::Relaxed);
        let folder = Folder::new();
        let events = ask(Host::builder().policy(on_probation()).build().unwrap());
        load(&folder, "fx-moody-owned", 1);
        let mut claim = host().claim::<dyn MoodyOwned>("moody").unwrap();
        load(&folder, "fx-moody-owned", 2);
        load(&folder, "fx-moody-owned", 3);
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
        claim.fail("it slipped").unwrap_err();
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 3, generation: 1 });
        load(&folder, "fx-moody-owned", 4);
        // The thread that drops the claim adopts the candidate.
        drop(claim);
        load(&folder, "fx-moody-owned", 5);
        end();
        let told = told(events);
        assert_reported(&told, |event| matches!(event, Event::Staged { .. }));
        assert_reported(&told, |event| matches!(event, Event::Superseded { .. }));
        assert_reported(&told, |event| matches!(event, Event::RolledBack(_)));
    });
}

#[test]
fn subscriber_may_wait_for_a_reader_of_an_event_of_the_same_sync() {
    alone(|| {
        let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
        let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
        host.load(folder.publish("counter.so", &counter.stamped(1))).unwrap();
        let mut claim = host.claim::<dyn Counter>("counter").unwrap();
        host.load(folder.publish("counter.so", &counter.stamped(2))).unwrap();
        let mut events = host.events();
        // The thread waits in the stream from before the adoption, so that the event must wake it.
        let waits = thread::spawn(move || {
            wait_for(&mut events, |event| match event {
                Event::Swapped(report) if report.generation == 2 => Some(()),
                _ => None,
            });
            *held(&HEARD) = true;
            SAID.notify_all();
        });
        let owner = thread::Builder::new().name("owner".to_owned());
        let owner = owner.spawn(move || Claim::sync(&mut claim)).unwrap();
        assert_eq!(owner.join().unwrap(), SyncOutcome::Adopted { generation: 2 });
        waits.join().unwrap();
        drop(host);
    });
}

#[test]
fn host_is_asked_while_a_slot_is_given_its_configuration() {
    alone(|| {
        let (folder, settings) = (Folder::new(), tempfile::tempdir().unwrap());
        let file = settings.path().join("desk.toml");
        let set = |threshold: f64| support::publish(&file, format!("[plugins.tuned]\nthreshold = {threshold}\n").as_bytes());
        set(0.5);
        folder.publish("libtuned.so", &Fixture::build("fx-tuned").stamped(1));
        let builder = Host::builder().policy(Policy::without_probation()).watch(folder.path());
        let mut events = ask(builder.attach(Configuration::of(Layers::new().file(&file))).build().unwrap());
        let slot = host().slot::<dyn Tuned>("tuned").unwrap();
        for threshold in [0.25, 0.75] {
            set(threshold);
            wait_for(&mut events, |event| {
                matches!(event, Event::ConfigApplied { .. }).then_some(())
            });
            assert_eq!(slot.load().threshold().unwrap().to_bits(), threshold.to_bits());
        }
        drop(slot);
        end();
    });
}

#[test]
fn reentrant_requests_on_the_reload_thread_are_refused() {
    alone(|| {
        CONFIRMS.store(false, Ordering::Relaxed);
        held(&WITHIN).clear();
        let folder = Folder::new();
        ask(Host::builder().policy(Policy::without_probation()).build().unwrap());
        load(&folder, "fx-moody", 1);
        load(&folder, "fx-moody", 2);
        end();
        let within = std::mem::take(&mut *held(&WITHIN));
        assert!(!within.is_empty());
        for refusal in &within {
            assert!(matches!(*refusal.cause, Cause::Reentrant), "{refusal}");
            assert_eq!(refusal.path, Path::new("nothing.so"));
            assert!(
                refusal
                    .to_string()
                    .contains("what to do: request it from a thread of the program"),
                "{refusal}"
            );
        }
    });
}

#[test]
fn subscriber_may_wait_for_a_thread_that_waits_for_the_gate() {
    alone(|| {
        let folder = Folder::new();
        ask(Host::builder().policy(on_probation()).build().unwrap());
        load(&folder, "fx-moody", 1);
        let slot = host().slot::<dyn Moody>("moody").unwrap();
        for (build, back) in [(2, false), (3, true)] {
            // The hook `start` waits behind the closed gate.
            let waits = mood(7, build, Hook::Start);
            let gate = Gate::new(&waits.gate(Hook::Start));
            let path = publish(&folder, "fx-moody", waits);
            let loading = thread::spawn(move || host().load(path));
            gate.wait_until_reached();
            let (holds, is_held) = mpsc::channel();
            let calling = slot.clone();
            let caller = thread::spawn(move || {
                let _lock = held(&LOCK);
                TAKES_LOCK.store(true, Ordering::Release);
                holds.send(()).unwrap();
                calling.load().add(1).unwrap();
                drop(host().slot::<dyn Moody>("moody").unwrap());
            });
            is_held.recv().unwrap();
            gate.open();
            loading.join().unwrap().unwrap_or_else(|refusal| panic!("{refusal}"));
            caller.join().unwrap();
            if back {
                host().rollback("moody", RollbackTarget::Previous).unwrap();
            }
            TAKES_LOCK.store(false, Ordering::Release);
        }
        assert_eq!(slot.load().total().unwrap(), 2);
        drop(slot);
        end();
    });
}
