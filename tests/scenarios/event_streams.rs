//! The ways to wait for events without blocking in `recv`: a file descriptor that is polled, and a stream that an executor polls.

use crate::support::{PATIENCE, host, wait_for_unmapped};
use fixture_interfaces::{Counter, Deed, Probe};
use futures_core::Stream;
use reslot::{Claim, Event, EventStream, Events, Host, Outcome, Policy, PollableEvents, Record, SyncOutcome};
use reslot_tests::{Fixture, Folder};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// Waits until the descriptor is readable, at most for this time.
fn wait_readable(events: &PollableEvents, most: Duration) -> bool {
    let most = Timespec::try_from(most).expect("a short time");
    loop {
        let mut fds = [PollFd::new(events, PollFlags::IN)];
        match poll(&mut fds, Some(&most)) {
            Ok(readable) => return readable > 0,
            Err(Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn is_readable(events: &PollableEvents) -> bool {
    wait_readable(events, Duration::ZERO)
}

/// Reads events until the descriptor is not readable any more. It may be readable without an event: other hosts of this
/// process ask for safe points.
#[track_caller]
fn drain(events: &mut PollableEvents) -> usize {
    let (deadline, mut read) = (Instant::now() + PATIENCE, 0);
    while is_readable(events) {
        assert!(Instant::now() < deadline, "it stays readable");
        read += std::iter::from_fn(|| events.try_recv()).count();
    }
    assert!(events.try_recv().is_none());
    read
}

/// Waits for the descriptor, for as long as a test may take.
#[track_caller]
fn wait_until_readable(events: &PollableEvents, what: &str) {
    assert!(
        wait_readable(events, PATIENCE),
        "the descriptor is not readable, waiting for {what}"
    );
}

/// Parks until a wake-up, which may be spurious.
#[track_caller]
fn park_until(deadline: Instant, what: &str) {
    let left = deadline.saturating_duration_since(Instant::now());
    assert!(!left.is_zero(), "the task is not woken, waiting for {what}");
    thread::park_timeout(left);
}

/// Polls and reads, like a program that waits for several things.
#[track_caller]
fn poll_to_the_end(mut events: PollableEvents) -> Vec<Arc<Record>> {
    let mut records = Vec::new();
    while !events.is_over() {
        wait_until_readable(&events, "the next event or the end");
        records.extend(std::iter::from_fn(|| events.try_recv()));
    }
    records
}

/// Unparks a thread, and counts how often.
struct Unparks(Thread, AtomicUsize);

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.unpark();
    }
}

/// A minimal executor that waits for the next event on this thread.
#[track_caller]
fn next(stream: &mut EventStream) -> Option<Arc<Record>> {
    let deadline = Instant::now() + PATIENCE;
    let waker = Waker::from(Arc::new(Unparks(thread::current(), AtomicUsize::new(0))));
    loop {
        match pin!(&mut *stream).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(record) => return record,
            Poll::Pending => park_until(deadline, "the next event or the end"),
        }
    }
}

fn stream_to_the_end(mut stream: EventStream) -> Vec<Arc<Record>> {
    std::iter::from_fn(|| next(&mut stream)).collect()
}

fn numbers(records: &[Arc<Record>]) -> Vec<u64> {
    records.iter().map(|record| record.sequence).collect()
}

fn reload(host: &Host, folder: &Folder, stamp: u64) {
    let path = folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(stamp));
    host.load(path).unwrap();
}

#[test]
fn descriptor_is_readable_while_an_event_waits() {
    let folder = Folder::new();
    let host = host(&folder);
    let mut other = host.events();
    let mut events = host.events().pollable().unwrap();
    assert_eq!(drain(&mut events), 0, "nothing was loaded");
    reload(&host, &folder, 1);
    assert!(wait_readable(&events, PATIENCE));
    // It is level-triggered: it stays readable until the events are read.
    assert!(events.try_recv().is_some() && is_readable(&events));
    assert!(wait_readable(&events, PATIENCE));
    // Another stream does not affect it.
    while other.try_recv().is_some() {}
    assert!(is_readable(&events));
    assert!(drain(&mut events) > 1);
    // Events from before the descriptor was made are not missed.
    assert!(is_readable(&host.events().pollable().unwrap()));
    assert!(!events.is_over());
    drop(host);
    // The end is readable, and stays so.
    let last = poll_to_the_end(events).pop().unwrap();
    assert!(matches!(last.event, Event::Retired(_)), "{}", last.event);
    other.by_ref().for_each(drop);
    let over = other.pollable().unwrap();
    assert!(is_readable(&over) && over.is_over() && is_readable(&over));
}

#[test]
fn pollers_and_streams_get_every_event_once_and_in_order() {
    let folder = Folder::new();
    let host = host(&folder);
    let first = host.events();
    thread::scope(|scope| {
        let pollers: Vec<_> = (0..2)
            .map(|_| {
                let events = host.events().pollable().unwrap();
                scope.spawn(move || poll_to_the_end(events))
            })
            .collect();
        let streams: Vec<_> = (0..2)
            .map(|_| {
                let stream = host.events().into_stream();
                scope.spawn(move || stream_to_the_end(stream))
            })
            .collect();
        let blocking = scope.spawn(|| first.collect::<Vec<_>>());
        for stamp in 1..=50 {
            reload(&host, &folder, stamp);
        }
        drop(host);
        let all = numbers(&blocking.join().unwrap());
        assert!(all.len() > 100 && all.iter().copied().eq(0..all.len() as u64), "{all:?}");
        for read in pollers.into_iter().chain(streams) {
            assert_eq!(numbers(&read.join().unwrap()), all);
        }
    });
}

/// Events of an owner's `sync` are delivered a moment later by another thread.
#[test]
fn adoption_wakes_pollers_and_streams() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-counter"));
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    host.load(folder.publish("counter.so", &counter.stamped(1))).unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    host.load(folder.publish("counter.so", &counter.stamped(2))).unwrap();
    let is_adoption = |record: &Record| matches!(&record.event, Event::Swapped(report) if report.generation == 2);
    let (mut events, mut stream) = (host.events().pollable().unwrap(), host.events().into_stream());
    thread::scope(|scope| {
        let (waits, waiting) = mpsc::channel();
        let also_waits = waits.clone();
        let poller = scope.spawn(move || {
            while events.try_recv().is_some() {}
            waits.send(()).unwrap();
            loop {
                wait_until_readable(&events, "the adoption");
                if std::iter::from_fn(|| events.try_recv()).any(|record| is_adoption(&record)) {
                    return;
                }
            }
        });
        let task = scope.spawn(move || {
            also_waits.send(()).unwrap();
            while !is_adoption(&next(&mut stream).unwrap()) {}
        });
        for _ in 0..2 {
            waiting.recv_timeout(PATIENCE).expect("both threads read");
        }
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
        poller.join().unwrap();
        task.join().unwrap();
    });
}

#[test]
fn task_that_waits_is_woken_whichever_polled_last() {
    let folder = Folder::new();
    let host = host(&folder);
    let mut stream = host.events().into_stream();
    let wakers = [(); 2].map(|()| Arc::new(Unparks(thread::current(), AtomicUsize::new(0))));
    let woken = || wakers.each_ref().map(|waker| waker.1.load(Ordering::Relaxed));
    for waker in &wakers {
        let waker = Waker::from(waker.clone());
        let mut context = Context::from_waker(&waker);
        while Pin::new(&mut stream).poll_next(&mut context).is_ready() {}
        // A task may be polled without a wake-up.
        assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
    }
    reload(&host, &folder, 1);
    let deadline = Instant::now() + PATIENCE;
    while woken()[1] == 0 {
        park_until(deadline, "the wake-up of the waker that polled last");
    }
    // The task is woken once for each wait.
    reload(&host, &folder, 2);
    drop(host);
    assert!(!stream_to_the_end(stream).is_empty());
    assert_eq!(woken()[1], 1);
}

/// A task that owns a stream, and is dropped with its last waker.
struct Task(#[allow(dead_code)] Mutex<Option<EventStream>>);

impl Wake for Task {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn task_may_go_with_its_waker_and_take_a_stream_along() {
    let folder = Folder::new();
    let host = host(&folder);
    let mut stream = host.events().into_stream();
    let poll = |stream: &mut EventStream, waker: Waker| {
        let mut context = Context::from_waker(&waker);
        while Pin::new(&mut *stream).poll_next(&mut context).is_ready() {}
    };
    let task = || {
        let mut own = host.events().into_stream();
        poll(&mut own, Waker::noop().clone());
        Waker::from(Arc::new(Task(Mutex::new(Some(own)))))
    };
    poll(&mut stream, task());
    // Another waker replaces it; then the stream is dropped with it.
    poll(&mut stream, task());
    drop(stream);
    // After a wake-up it is dropped on the waking thread.
    let mut stream = host.events().into_stream();
    poll(&mut stream, task());
    reload(&host, &folder, 1);
    assert!(next(&mut stream).is_some());
    let mut events: Events = stream.into_inner();
    assert!(events.try_recv().is_some());
}

#[test]
fn thread_that_polls_is_asked_to_come_to_a_safe_point() {
    for by_stream in [false, true] {
        let folder = Folder::new();
        let host = Host::builder()
            .policy(Policy::without_probation())
            .thread_local_deadline(Duration::from_secs(600))
            .build()
            .unwrap();
        reload(&host, &folder, 1);
        let slot = host.slot::<dyn Probe>("probe").unwrap();
        let (mut events, mut all) = (host.events(), host.events());
        let (called, calls) = mpsc::channel();
        let waits = thread::spawn(move || {
            slot.load().act(Deed::ThreadLocal).unwrap();
            drop(slot);
            called.send(()).unwrap();
            match by_stream {
                false => poll_to_the_end(events.pollable().unwrap()),
                true => {
                    while events.try_recv().is_some() {}
                    stream_to_the_end(events.into_stream())
                }
            }
        });
        calls.recv_timeout(PATIENCE).expect("the thread has called the plugin");
        reload(&host, &folder, 2);
        let report = wait_for_unmapped(&mut all, "probe", 1);
        let Outcome::Unmapped(left) = &report.outcome else {
            unreachable!()
        };
        assert_eq!((left.thread_locals_run, left.thread_locals_skipped), (1, 0), "{left:?}");
        drop(host);
        assert!(!waits.join().unwrap().is_empty());
    }
}
