//! The account of an image, without an image.

use super::*;
use std::sync::atomic::AtomicUsize;

fn ledger() -> Arc<Ledger> {
    Ledger::new("a test's".to_owned(), || {}, |_| {})
}

fn close(ledger: &Ledger) -> Closed {
    ledger.close().expect("nothing runs in it")
}

#[test]
fn mappings_are_accounted_for_in_parts() {
    let ledger = ledger();
    ledger.mapped(0x1000, 0x4000);
    ledger.mapped(0x8000, 0x1000);
    ledger.unmapped(0x2000, 0x1000);
    ledger.unmapped(0x8000, 0x1000);
    assert_eq!(close(&ledger).file_bytes_left, 0x3000);
}

#[test]
fn keys_are_rounds_of_destructors_as_in_posix() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn destructor(value: *mut c_void) {
        CALLS.fetch_add(value.addr(), Ordering::Relaxed);
    }
    let ledger = ledger();
    let (with, without) = (ledger.create_key(Some(destructor)), ledger.create_key(None));
    assert!(with >= reslot_plugin_api::__private::VIRTUAL_KEYS && with != without);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(ledger.value(with).is_null());
            assert!(ledger.set_value(with, std::ptr::without_provenance_mut(5)));
            assert!(ledger.set_value(without, std::ptr::without_provenance_mut(7)));
            assert_eq!((ledger.value(with).addr(), ledger.value(without).addr()), (5, 7));
            assert!(ledger.delete_key(without) && !ledger.delete_key(without));
            assert!(ledger.value(without).is_null());
        });
    });
    // The thread has ended, and its value met its destructor, once. (A scope returns before the thread's own end, so the
    // close below may be the one that waits for it.)
    while ledger.holding() == Holding::Threads {
        std::thread::yield_now();
    }
    let closed = close(&ledger);
    let (ran, skipped) = (CALLS.load(Ordering::Relaxed), closed.destructors_skipped);
    assert!((ran, skipped) == (5, 0) || (ran, skipped) == (0, 1), "{ran} {skipped}");
}

#[test]
fn what_has_no_destructor_holds_nothing_and_is_not_counted() {
    extern "C" fn never(_: *mut c_void) {
        unreachable!("its value was taken back");
    }
    let ledger = ledger();
    let (with, without) = (ledger.create_key(Some(never)), ledger.create_key(None));
    let value = std::ptr::without_provenance_mut(1);
    assert!(ledger.set_value(without, value) && ledger.set_value(with, value));
    assert_eq!(ledger.holding(), Holding::Values);
    assert!(ledger.set_value(with, std::ptr::null_mut()));
    assert_eq!(ledger.holding(), Holding::Nothing);
    assert!(ledger.threads_with_values().is_empty());
    let closed = close(&ledger);
    assert_eq!((closed.destructors_skipped, closed.skipped_of.len()), (0, 0));
}

#[test]
fn destructors_of_living_threads_are_skipped_and_counted() {
    extern "C" fn never(_: *mut c_void) {
        unreachable!("its image is gone");
    }
    let ledger = ledger();
    let (registered, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ledger.add_destructor(never, std::ptr::null_mut());
            registered.wait();
            wait.wait();
        });
        registered.wait();
        assert_eq!(close(&ledger).destructors_skipped, 1);
        wait.wait();
    });
}

#[test]
fn destructors_of_an_ending_image_run_at_the_threads_safe_point_and_not_before() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn destructor(_: *mut c_void) {
        RAN.fetch_add(1, Ordering::Relaxed);
        // By a roundabout way: nothing happens, and nothing hangs.
        safe_point();
    }
    let ledger = ledger();
    let (registered, ended) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let living = scope.spawn(|| {
            ledger.add_destructor(destructor, std::ptr::null_mut());
            safe_point();
            assert_eq!(RAN.load(Ordering::Relaxed), 0, "its image may still be called");
            registered.wait();
            ended.wait();
            safe_point();
            assert_eq!(RAN.load(Ordering::Relaxed), 1);
            safe_point();
        });
        registered.wait();
        ledger.end();
        assert_eq!(ledger.holding(), Holding::Values);
        ended.wait();
        living.join().unwrap();
        assert_eq!(ledger.holding(), Holding::Nothing);
        let closed = close(&ledger);
        assert_eq!((closed.destructors_run, closed.destructors_skipped), (1, 0));
    });
}
