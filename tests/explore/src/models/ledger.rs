//! Threads that end, and threads that live on, against an image that goes.

use super::Described;
use reslot_native::{Ledger, exploration};
use reslot_sync::{
    Condvar, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};
use reslot_system::safe_point;
use std::{ffi::c_void, sync::Arc};

pub(super) const MODELS: &[Described] = &[(
    "ledger",
    "no destructor of an image runs after it was closed, each runs at most once, and none is forgotten; no deadlock",
    ledger,
)];

/// What the destructors of an execution note.
struct Noted {
    closed: AtomicBool,
    ran: AtomicU64,
}

/// A thread-local destructor of the image; its object is a [`Noted`].
extern "C" fn destructor(noted: *mut c_void) {
    // SAFETY: the model leaks what it registers.
    let noted = unsafe { &*noted.cast::<Noted>() };
    if noted.closed.load(Relaxed) {
        reslot_sync::fail("a destructor begins to run after its image was closed");
    }
    noted.ran.fetch_add(1, Relaxed);
    thread::yield_now();
    if noted.closed.load(Relaxed) {
        reslot_sync::fail("an image was closed while its destructor ran");
    }
}

fn ledger() {
    let noted: &'static Noted = Box::leak(Box::new(Noted {
        closed: AtomicBool::new(false),
        ran: AtomicU64::new(0),
    }));
    let released = Arc::new((Mutex::new(0_u32), Condvar::new()));
    let on_release = {
        let released = released.clone();
        move || {
            *released.0.lock() += 1;
            released.1.notify_all();
        }
    };
    let ledger = Ledger::new("the image".to_owned(), on_release, |_| {});
    let add = move |ledger: &Arc<Ledger>| {
        exploration::add_destructor(ledger, destructor, (&raw const *noted).cast_mut().cast());
    };
    // A thread that calls the image and ends, and one that lives on and comes to safe points.
    let ends = {
        let ledger = ledger.clone();
        let (called, has_called) = reslot_sync::mpsc::channel();
        let thread = thread::spawn(move || {
            add(&ledger);
            add(&ledger);
            called.send(()).unwrap();
        });
        (thread, has_called)
    };
    let lives_on = {
        let ledger = ledger.clone();
        let (called, has_called) = reslot_sync::mpsc::channel();
        let thread = thread::spawn(move || {
            add(&ledger);
            drop(ledger);
            called.send(()).unwrap();
            for _ in 0..3 {
                thread::yield_now();
                safe_point();
            }
        });
        (thread, has_called)
    };
    // A thread of the image itself.
    let own = exploration::thread_starts(&ledger).map(|number| {
        let ledger = ledger.clone();
        thread::spawn(move || exploration::as_own_thread(&ledger, number, || add(&ledger)))
    });
    add(&ledger);
    // The instance is destroyed when no call runs any more.
    ends.1.recv().unwrap();
    lives_on.1.recv().unwrap();
    ledger.end();
    let closed = loop {
        let seen = *released.0.lock();
        if let Some(closed) = ledger.close() {
            break closed;
        }
        let mut count = released.0.lock();
        while *count == seen {
            released.1.wait(&mut count);
        }
    };
    noted.closed.store(true, Relaxed);
    let ran = noted.ran.load(Relaxed);
    assert_eq!(closed.destructors_run, ran, "the ledger counts what ran");
    assert_eq!(ran + closed.destructors_skipped, 5, "no destructor is forgotten");
    for thread in [Some(ends.0), Some(lives_on.0), own].into_iter().flatten() {
        thread.join().unwrap();
    }
    assert_eq!(
        noted.ran.load(Relaxed),
        ran,
        "no destructor of an image runs after it was closed"
    );
    drop(ledger);
}
