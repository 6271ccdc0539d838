//! The ledger of an image, without an image.

use super::*;
use reslot_system::safe_point;
use std::sync::atomic::AtomicUsize;

fn resources() -> Arc<Ledger> {
    Ledger::new("a test's".to_owned(), || {}, |_| {})
}

fn close(resources: &Ledger) -> ClosedLedger {
    resources.close().expect("nothing runs in it")
}

#[test]
fn mappings_are_accounted_for_in_parts() {
    let resources = resources();
    resources.mapped(0x1000, 0x4000);
    resources.mapped(0x8000, 0x1000);
    resources.unmapped(0x2000, 0x1000);
    resources.unmapped(0x8000, 0x1000);
    assert_eq!(close(&resources).file_bytes_left, 0x3000);
}

#[test]
fn keys_are_rounds_of_destructors_as_in_posix() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn destructor(value: *mut c_void) {
        CALLS.fetch_add(value.addr(), Ordering::Relaxed);
    }
    let resources = resources();
    let (with, without) = (resources.create_key(Some(destructor)), resources.create_key(None));
    assert!(with >= reslot_plugin_api::__private::VIRTUAL_KEYS && with != without);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(resources.value(with).is_null());
            assert!(resources.set_value(with, std::ptr::without_provenance_mut(5)));
            assert!(resources.set_value(without, std::ptr::without_provenance_mut(7)));
            assert_eq!((resources.value(with).addr(), resources.value(without).addr()), (5, 7));
            assert!(resources.delete_key(without) && !resources.delete_key(without));
            assert!(resources.value(without).is_null());
        });
    });
    // The thread's destructor has run once, or is skipped by the close. (A scope returns before the thread's own end.)
    while resources.holding() == Holding::Threads {
        std::thread::yield_now();
    }
    let closed = close(&resources);
    let (ran, skipped) = (CALLS.load(Ordering::Relaxed), closed.destructors_skipped);
    assert!((ran, skipped) == (5, 0) || (ran, skipped) == (0, 1), "{ran} {skipped}");
}

#[test]
fn thread_local_without_a_destructor_holds_nothing_and_is_not_counted() {
    extern "C" fn never(_: *mut c_void) {
        unreachable!("its value was taken back");
    }
    let resources = resources();
    let (with, without) = (resources.create_key(Some(never)), resources.create_key(None));
    let value = std::ptr::without_provenance_mut(1);
    assert!(resources.set_value(without, value) && resources.set_value(with, value));
    assert_eq!(resources.holding(), Holding::Values);
    assert!(resources.set_value(with, std::ptr::null_mut()));
    assert_eq!(resources.holding(), Holding::Nothing);
    assert!(resources.threads_with_values().is_empty());
    let closed = close(&resources);
    assert_eq!((closed.destructors_skipped, closed.skipped_threads.len()), (0, 0));
}

#[test]
fn destructors_of_living_threads_are_skipped_and_counted() {
    extern "C" fn never(_: *mut c_void) {
        unreachable!("its image is gone");
    }
    let resources = resources();
    let (registered, wait) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            resources.add_destructor(never, std::ptr::null_mut());
            registered.wait();
            wait.wait();
        });
        registered.wait();
        assert_eq!(close(&resources).destructors_skipped, 1);
        wait.wait();
    });
}

#[test]
fn destructors_of_an_ending_image_run_at_the_threads_safe_point_and_not_before() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn destructor(_: *mut c_void) {
        RAN.fetch_add(1, Ordering::Relaxed);
        // A safe point inside a safe point does nothing.
        safe_point();
    }
    let resources = resources();
    let (registered, ended) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        let living = scope.spawn(|| {
            resources.add_destructor(destructor, std::ptr::null_mut());
            safe_point();
            assert_eq!(RAN.load(Ordering::Relaxed), 0, "its image may still be called");
            registered.wait();
            ended.wait();
            safe_point();
            assert_eq!(RAN.load(Ordering::Relaxed), 1);
            safe_point();
        });
        registered.wait();
        resources.end();
        assert_eq!(resources.holding(), Holding::Values);
        ended.wait();
        living.join().unwrap();
        assert_eq!(resources.holding(), Holding::Nothing);
        let closed = close(&resources);
        assert_eq!((closed.destructors_run, closed.destructors_skipped), (1, 0));
    });
}
