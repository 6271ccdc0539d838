//! A program that forks, or changes its user, after its host was built. It has a main of its own: its children must end without running
//! anything of a test harness, and one case is this program, started again.

use fixture_interfaces::{Counter, SharedCounter};
use futures_core::Stream;
use reslot::{
    Cause, Claim, ContentHash, Fault, Host, Policy, RollbackError, RollbackTarget, SlotError, SyncOutcome, Unfinished,
    UnloadError,
    artifact::StageError,
    control::{Client, ControlSocket},
};
use reslot_tests::{Fixture, Folder};
use std::{
    env,
    fs::{self, Permissions},
    io::ErrorKind,
    mem::forget,
    os::unix::fs::PermissionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    pin::Pin,
    process::Command,
    ptr,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

const SHARED: &str = "shared-counter";
const OWNED: &str = "counter";
const FORKS: u32 = 50;
/// A child that needs longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the process that changes its user: the folder in which all of its files lie.
const CHANGES_USER: &str = "RESLOT_TEST_CHANGES_USER";
const NOBODY: u32 = 65_534;

fn main() {
    if let Some(place) = env::var_os(CHANGES_USER) {
        return change_user(Path::new(&place));
    }
    if env::args().any(|argument| argument == "--list") {
        return;
    }
    fork_while_the_loader_is_busy();
    fork_while_busy();
    fork_and_build();
    fork_and_shut_down();
    changed_user_is_noticed_and_reported();
    println!("a forked child, and a host whose user changes: ok");
}

/// How far a child has come, in memory that it shares with its parent: a child that hangs cannot say so.
struct Progress(&'static AtomicU32);

impl Progress {
    fn new() -> Self {
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, which overlaps nothing; it is never unmapped.
        let page = unsafe { libc::mmap(ptr::null_mut(), 4096, access, kind, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        // SAFETY: a page of zeros, aligned, for as long as the process lives.
        Self(unsafe { &*page.cast() })
    }

    /// In the child: this is what comes now.
    fn step(&self, line: u32) {
        self.0.store(line, Ordering::Relaxed);
    }
}

/// Runs `body` in a forked child, and fails if it panics or hangs; the child never comes back from here.
fn in_child(progress: &Progress, body: impl FnOnce()) {
    // SAFETY: the child calls the host's functions, which is what is tested, and ends by `_exit`. glibc keeps its allocator usable there.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let good = catch_unwind(AssertUnwindSafe(body)).is_ok();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(if good { 0 } else { 1 }) };
    }
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let deadline = Instant::now() + PATIENCE;
    let mut status = 0;
    // SAFETY: our own child, which nobody else waits for.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > deadline {
            // SAFETY: as above: it was not waited for, so the number is still its own.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            panic!("the child hangs in line {}", progress.0.load(Ordering::Relaxed));
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(status, 0, "the child ended in line {}", progress.0.load(Ordering::Relaxed));
}

/// In a child: drops its copy of something that threads of the parent's still borrow there.
fn drop_copy<T>(copy: &T) {
    // SAFETY: the child has no other thread, and ends without looking at the value again.
    drop(unsafe { ptr::read(copy) });
}

macro_rules! step {
    ($progress:expr, $($done:tt)*) => {{
        $progress.step(line!());
        $($done)*
    }};
}

struct Plugins {
    shared: Fixture,
    owned: Fixture,
}

fn plugins() -> Plugins {
    Plugins {
        shared: Fixture::build("fx-shared-counter"),
        owned: Fixture::build("fx-counter"),
    }
}

fn fork_while_busy() {
    let plugins = plugins();
    let (published, private, kept) = (Folder::new(), Folder::new(), Folder::new());
    let socket = private.path().join("control").join("socket");
    let file = published.publish("shared.so", &plugins.shared.stamped(1));
    published.publish("owned.so", &plugins.owned.stamped(1));
    let base = private.path().join("copies");
    fs::create_dir(&base).unwrap();
    let host = Host::builder()
        .watch(published.path())
        .private_base(&base)
        .history(kept.path())
        .attach(ControlSocket::at(&socket))
        .policy(Policy::without_probation())
        .track_guards(true)
        .build()
        .unwrap();
    let mut claim: Claim<dyn Counter> = host.claim(OWNED).unwrap();
    let slot = host.slot::<dyn SharedCounter>(SHARED).unwrap();
    let mut reader = host.reader();
    let mut events = host.events();
    let shadow = Claim::shadow(&claim, published.path().join("owned.so")).unwrap();
    claim.add(5).unwrap();
    let next = published.path().join("next.so");
    fs::write(&next, plugins.owned.stamped(2)).unwrap();
    host.load(&next).unwrap();
    let progress = Progress::new();
    let ended = AtomicBool::new(false);
    let calls = thread::scope(|scope| {
        let reloads = scope.spawn(|| {
            let mut stamp = 1;
            while !ended.load(Ordering::Relaxed) {
                stamp += 1;
                let file = published.publish("shared.so", &plugins.shared.stamped(stamp));
                // A child that was forked while the file was written keeps it open for writing until it ends.
                while let Err(refusal) = host.load(&file) {
                    let is_open = matches!(&*refusal.cause, Cause::Stage(StageError::BeingWritten { .. }));
                    assert!(is_open, "{refusal}");
                }
                if stamp % 8 == 0 {
                    let _ = host.rollback(SHARED, RollbackTarget::Previous);
                }
            }
            stamp
        });
        let calls = scope.spawn(|| {
            let mut reader = host.reader();
            let mut calls = 0;
            while !ended.load(Ordering::Relaxed) {
                slot.clone().load().add(1).unwrap();
                reader.view().get(&slot).add(1).unwrap();
                calls += 2;
                assert!(host.slots().len() == 2 && host.images().mapped > 0 && !host.who_holds(SHARED).is_empty());
            }
            calls
        });
        let forked = catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..FORKS {
                let guard = slot.load();
                reader.view();
                in_child(&progress, || {
                    let p = &progress;
                    let refused = step!(p, host.load(&file)).unwrap_err();
                    assert!(matches!(*refused.cause, Cause::ForkedProcess), "{refused}");
                    assert!(
                        refused
                            .to_string()
                            .contains("fork before the host is built (`HostBuilder::build`)"),
                        "{refused}"
                    );
                    let refused = step!(p, host.load_together([&file])).unwrap_err();
                    assert!(matches!(*refused.cause, Cause::ForkedProcess));
                    let refused = step!(p, host.rescan()).pop().unwrap().unwrap_err();
                    assert!(matches!(*refused.cause, Cause::ForkedProcess));
                    let refused = step!(p, host.claim::<dyn Counter>(OWNED)).unwrap_err();
                    assert!(matches!(refused, SlotError::ForkedProcess { .. }));
                    let refused = step!(p, host.slot::<dyn SharedCounter>(SHARED)).unwrap_err();
                    assert!(matches!(refused, SlotError::ForkedProcess { .. }));
                    let refused = step!(p, host.rollback(SHARED, RollbackTarget::Previous)).unwrap_err();
                    assert!(matches!(refused, RollbackError::Slot(SlotError::ForkedProcess { .. })));
                    let refused = step!(p, host.confirm(SHARED)).unwrap_err();
                    assert!(matches!(refused, SlotError::ForkedProcess { .. }));
                    let refused = step!(p, host.artifact(SHARED, ContentHash::of(b"0"))).unwrap_err();
                    assert!(matches!(refused, RollbackError::Slot(SlotError::ForkedProcess { .. })));
                    let refused = step!(p, host.unload(SHARED)).unwrap_err();
                    let UnloadError::Slot(refused) = refused else { panic!() };
                    assert!(matches!(*refused, SlotError::ForkedProcess { .. }));
                    let refused = step!(p, host.shadow::<dyn SharedCounter>(SHARED, &file)).unwrap_err();
                    assert!(matches!(refused, RollbackError::Slot(SlotError::ForkedProcess { .. })));
                    assert!(step!(p, host.who_holds(SHARED)).is_empty());
                    assert!(step!(p, host.slots()).is_empty() && format!("{host:?}").contains("[]"));
                    assert!(step!(p, host.history(SHARED)).is_empty());
                    assert_eq!(step!(p, host.images()).mapped, 0);
                    assert!(step!(p, host.left_state(SHARED)).is_none());
                    assert!(!step!(p, host.wait_until_retired(PATIENCE)));
                    assert!(!step!(p, host.wait_until_unmapped(SHARED, 1, PATIENCE)));
                    step!(p, host.set_log_level(SHARED, None));
                    step!(p, reslot::safe_point());
                    assert!(step!(p, events.recv()).is_none());
                    assert!(step!(p, host.events().recv()).is_none());

                    assert_eq!(step!(p, Claim::sync(&mut claim)), SyncOutcome::Unchanged);
                    assert_eq!(step!(p, host.sync_together(&mut [&mut claim])), [SyncOutcome::Unchanged]);
                    let refused = step!(p, Claim::unload(&mut claim)).unwrap_err();
                    assert!(matches!(refused, UnloadError::ForkedProcess), "{refused}");
                    let refused = step!(p, Claim::rollback(&mut claim, RollbackTarget::Previous)).unwrap_err();
                    assert!(matches!(refused, RollbackError::Slot(SlotError::ForkedProcess { .. })));
                    let refused = step!(p, Claim::shadow(&claim, &file)).unwrap_err();
                    assert!(matches!(*refused.cause, Cause::ForkedProcess), "{refused}");
                    let refused = step!(p, Claim::shadow_kept(&claim, RollbackTarget::Previous)).unwrap_err();
                    assert!(matches!(refused, RollbackError::Slot(SlotError::ForkedProcess { .. })));
                    // The child has a copy of the instance, and no lock is on the way to it.
                    assert_eq!(step!(p, claim.add(1)).unwrap(), 6);
                    let error = step!(p, claim.fail("in a child")).unwrap_err();
                    assert!(matches!(error.fault(), Fault::Panicked { .. }), "{error}");
                    // On the way to this one there is a lock.
                    let error = step!(p, guard.add(1)).unwrap_err();
                    assert!(matches!(error.fault(), Fault::ForkedProcess), "{error}");
                    let error = step!(p, slot.clone().load().add(1)).unwrap_err();
                    assert!(matches!(error.fault(), Fault::ForkedProcess), "{error}");
                    let error = step!(p, reader.view().get(&slot).add(1)).unwrap_err();
                    assert!(matches!(error.fault(), Fault::ForkedProcess), "{error}");
                    step!(p, reader.release());
                    step!(p, drop(host.reader()));

                    step!(p, drop_copy(&guard));
                    step!(p, drop_copy(&shadow));
                    step!(p, drop_copy(&reader));
                    step!(p, drop_copy(&slot));
                    step!(p, drop_copy(&claim));
                    step!(p, drop_copy(&host));
                    step!(p, drop_copy(&events));
                });
            }
        }));
        ended.store(true, Ordering::Relaxed);
        let (calls, stamp) = (calls.join().unwrap(), reloads.join().unwrap());
        if let Err(panic) = forked {
            // Dropping the host may wait for what the failure is about.
            forget(host.events());
            std::panic::resume_unwind(panic);
        }
        assert!(stamp > 2, "it was reloaded meanwhile");
        calls
    });
    // The parent goes on with all that it had.
    assert!(host.private_folder().is_dir() && socket.exists());
    assert!(Client::connect(&socket).is_ok());
    let folders = fs::read_dir(&base).unwrap().count();
    assert_eq!(folders, 1, "no other folder was made");
    assert_eq!(
        slot.load().total().unwrap(),
        calls,
        "no call was lost, and none of a child's came"
    );
    host.load(published.publish("shared.so", &plugins.shared.stamped(1_000_000)))
        .unwrap();
    assert_eq!(slot.load().stamp().unwrap(), 1_000_000);
    assert!(!host.history(SHARED).is_empty());
    assert!(host.rollback(SHARED, RollbackTarget::Previous).is_ok());
    assert!(matches!(Claim::sync(&mut claim), SyncOutcome::Adopted { .. }));
    assert_eq!(claim.report().unwrap().total, 5);
    drop((shadow, reader, slot, claim, host));
    assert!(!socket.exists());
    assert_eq!(fs::read_dir(&base).unwrap().count(), 0, "nothing is left of it");
}

/// The child of a host that is at rest builds one of its own.
/// A plugin that panics in a child must not wait for the loader's lock, which a thread of the parent held.
fn fork_while_the_loader_is_busy() {
    /// Says that the loader's lock is held, and holds it until it is told to go on.
    unsafe extern "C" fn hold(_: *mut libc::dl_phdr_info, _: usize, barrier: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the barrier that is passed below, which outlives the call.
        let barrier = unsafe { &*barrier.cast::<Barrier>() };
        barrier.wait();
        barrier.wait();
        1
    }
    let (published, plugins) = (Folder::new(), plugins());
    let host = Host::builder().watch(published.path()).build().unwrap();
    host.load(published.publish("owned.so", &plugins.owned.stamped(1))).unwrap();
    let mut claim: Claim<dyn Counter> = host.claim(OWNED).unwrap();
    let (progress, barrier) = (Progress::new(), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let barrier = (&raw const barrier).cast_mut().cast();
            // SAFETY: the function takes what it is given here.
            unsafe { libc::dl_iterate_phdr(Some(hold), barrier) };
        });
        barrier.wait();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            in_child(&progress, || {
                let p = &progress;
                let error = step!(p, claim.fail("in a child")).unwrap_err();
                assert!(matches!(error.fault(), Fault::Panicked { .. }), "{error}");
                step!(p, drop(error.to_string()));
            });
        }));
        barrier.wait();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn fork_and_build() {
    let plugins = plugins();
    let published = Folder::new();
    let file = published.publish("shared.so", &plugins.shared.stamped(1));
    let host = Host::builder().build().unwrap();
    host.load(&file).unwrap();
    let slot = host.slot::<dyn SharedCounter>(SHARED).unwrap();
    slot.load().add(3).unwrap();
    let progress = Progress::new();
    for _ in 0..5 {
        in_child(&progress, || {
            let p = &progress;
            let own = step!(p, Host::builder().build()).unwrap();
            step!(p, own.load(&file)).unwrap();
            let called = step!(p, own.slot::<dyn SharedCounter>(SHARED)).unwrap();
            assert_eq!(step!(p, called.load().add(1)).unwrap(), 1);
            step!(p, own.load(published.publish("next.so", &plugins.shared.stamped(2)))).unwrap();
            assert_eq!(step!(p, called.load().add(1)).unwrap(), 2);
            assert!(step!(p, own.wait_until_retired(PATIENCE)));
            step!(p, drop(called));
            step!(p, drop(own));
            step!(p, drop_copy(&slot));
            step!(p, drop_copy(&host));
        });
        assert_eq!(slot.load().add(0).unwrap(), 3);
    }
}

fn fork_and_shut_down() {
    let (folder, plugins) = (Folder::new(), plugins());
    folder.publish("shared.so", &plugins.shared.stamped(1));
    let host = Host::builder().watch(folder.path()).build().unwrap();
    let (mut pollable, mut stream) = (host.events().pollable().unwrap(), host.events().into_stream());
    let mut next = || {
        let mut context = Context::from_waker(Waker::noop());
        Pin::new(&mut stream).poll_next(&mut context)
    };
    while let Poll::Ready(record) = next() {
        assert!(record.is_some());
    }
    let progress = Progress::new();
    in_child(&progress, || {
        let p = &progress;
        assert!(step!(p, pollable.try_recv()).is_none() && step!(p, pollable.is_over()));
        assert!(matches!(step!(p, next()), Poll::Ready(None)));
        let refused = step!(p, host.events().pollable()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        step!(p, drop_copy(&pollable));
        // SAFETY: as in `drop_copy`.
        let copy = unsafe { ptr::read(&raw const host) };
        let report = step!(p, copy.shutdown(PATIENCE));
        assert_eq!(report.unfinished, Some(Unfinished::ForkedProcess), "{report}");
        assert!(report.unmapped.is_empty() && report.still_mapped.is_empty(), "{report}");
        assert!(
            report
                .to_string()
                .contains("fork before the host is built (`HostBuilder::build`)"),
            "{report}"
        );
    });
    // The child has read nothing of it.
    assert!(next().is_pending());
    let report = host.shutdown(PATIENCE);
    assert!(report.is_complete() && report.unmapped.len() == 1, "{report}");
    while pollable.try_recv().is_some() {}
    assert!(pollable.is_over());
    while let Poll::Ready(Some(_)) = next() {}
    assert!(matches!(next(), Poll::Ready(None)));
}

fn changed_user_is_noticed_and_reported() {
    let place = Folder::new();
    for entry in ["plugins", "private", "history", "others"] {
        fs::create_dir(place.path().join(entry)).unwrap();
    }
    let plugins = plugins();
    for stamp in 1..=3 {
        let name = format!("plugins/{stamp}.so");
        fs::write(place.path().join(name), plugins.shared.stamped(stamp)).unwrap();
    }
    let open = |name: &str, mode| fs::set_permissions(place.path().join(name), Permissions::from_mode(mode)).unwrap();
    open("", 0o755);
    open("plugins", 0o755);
    open("others", 0o777);
    let mut child = Command::new(env::current_exe().unwrap())
        .env(CHANGES_USER, place.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the host whose user has changed hangs");
        }
        thread::sleep(Duration::from_millis(1));
    };
    assert!(status.success(), "{status}");
}

/// In a process of its own, because it does not become its first user again.
fn change_user(place: &Path) {
    let file = |stamp: u64| -> PathBuf { place.join(format!("plugins/{stamp}.so")) };
    let base = place.join("private");
    let host = Host::builder()
        .private_base(&base)
        .history(place.join("history"))
        .attach(ControlSocket::at(place.join("private/socket")))
        .policy(Policy::without_probation())
        .build()
        .unwrap();
    host.load(file(1)).unwrap();
    host.load(file(2)).unwrap();
    let slot = host.slot::<dyn SharedCounter>(SHARED).unwrap();
    slot.load().add(7).unwrap();
    // SAFETY: takes three numbers; glibc changes all threads.
    let changed = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) } == 0;
    // SAFETY: has no preconditions.
    let user = unsafe { libc::geteuid() };
    assert_eq!(changed, user == NOBODY);
    if !changed {
        // Only root may change its user. Nothing has changed then, and a load succeeds.
        assert_ne!(user, 0, "root can change its user");
        host.load(file(3)).unwrap();
        return;
    }
    let mut events = host.events();
    for _ in 0..2 {
        let refused = host.load(file(3)).unwrap_err();
        let Cause::Stage(StageError::UserChanged { path, was, now }) = &*refused.cause else {
            panic!("{refused}");
        };
        assert_eq!((&**path, *was, *now), (host.private_folder(), 0, NOBODY));
        assert!(refused.to_string().contains("before building the host"), "{refused}");
    }
    // What serves goes on, and says nothing of a folder that is gone.
    assert_eq!(slot.load().add(0).unwrap(), 7);
    while let Some(record) = events.try_recv() {
        assert!(
            !matches!(record.event, reslot::Event::PrivateFolderRestored { .. }),
            "{}",
            record.event
        );
    }
    // What needs the files of the first user answers an error, too.
    let refused = host.rollback(SHARED, RollbackTarget::Previous).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("a program that changes its user must build its host afterwards"),
        "{refused}"
    );
    drop((slot, host));
    // The remedy is true: a host of this user.
    let host = Host::builder().private_base(place.join("others")).build().unwrap();
    host.load(file(3)).unwrap();
    assert_eq!(host.slot::<dyn SharedCounter>(SHARED).unwrap().load().stamp().unwrap(), 3);
}
