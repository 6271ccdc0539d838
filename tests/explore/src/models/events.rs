//! Subscribers against a host that reports, and ends.

use super::{Described, build, builder};
use crate::plugins::left;
use futures_core::Stream;
use reslot_runtime::{EventStream, Events, Host, Policy, PollableEvents, Record};
use reslot_sync::{Condvar, Instant, Mutex, thread};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

pub(super) const MODELS: &[Described] = &[
    (
        "events",
        "each subscriber has every event once and in order, and is woken at the end of the host; no deadlock",
        events,
    ),
    (
        "event-streams",
        "the same for those that wait with a descriptor, or as a task",
        event_streams,
    ),
];

/// Loads two versions. When all threads wait for something, each of these subscribers has read all events so far.
fn load_and_look(host: &Host, counts: &[Count]) {
    let mut all = host.events();
    let mut count = 0;
    for version in 1..3 {
        host.load(build(left::PLUGIN, version)).unwrap();
        // Those that look again and again do so each millisecond.
        thread::sleep(Duration::from_millis(10));
        while all.try_recv().is_some() {
            count += 1;
        }
        for read in counts {
            assert_eq!(read.load(Relaxed), count, "a subscriber is woken for each event");
        }
    }
}

/// How many events a subscriber has read.
type Count = Arc<AtomicU64>;

fn events() {
    let host = builder(Policy::without_probation()).build().unwrap();
    let counts: [Count; 3] = Default::default();
    // One waits without a limit, one with a limit that passes again and again, one looks.
    let waits = reads(host.events(), &counts[0], |events| events.recv());
    let waits_for_a_while = reads(host.events(), &counts[1], |events| {
        events.recv_timeout(Duration::from_millis(1))
    });
    let looks = reads(host.events(), &counts[2], |events| {
        thread::sleep(Duration::from_micros(300));
        events.try_recv()
    });
    load_and_look(&host, &counts);
    let _ = host.shutdown(Duration::from_secs(60));
    let seen = [waits, waits_for_a_while, looks].map(|reads| reads.join().unwrap());
    assert!(!seen[0].is_empty());
    assert!(
        seen.windows(2).all(|pair| pair[0] == pair[1]),
        "each has the same events: {seen:?}"
    );
}

/// Reads until no event can come any more, and answers their numbers.
fn reads(
    mut events: Events,
    count: &Count,
    mut next: impl FnMut(&mut Events) -> Option<Arc<Record>> + Send + 'static,
) -> thread::JoinHandle<Vec<u64>> {
    let count = count.clone();
    thread::spawn(move || {
        let mut numbers = Vec::new();
        loop {
            match next(&mut events) {
                Some(record) => note(&mut numbers, &record, &count),
                None if events.is_over() => break,
                None => {}
            }
        }
        in_order(numbers)
    })
}

fn note(numbers: &mut Vec<u64>, record: &Record, count: &Count) {
    numbers.push(record.sequence);
    count.store(numbers.len() as u64, Relaxed);
}

fn in_order(numbers: Vec<u64>) -> Vec<u64> {
    let in_order = numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    assert!(in_order, "once and in order: {numbers:?}");
    numbers
}

fn event_streams() {
    let host = builder(Policy::without_probation()).build().unwrap();
    let counts: [Count; 3] = Default::default();
    let polls = {
        let (events, count) = (host.events().pollable().unwrap(), counts[0].clone());
        thread::spawn(move || by_polling(events, &count))
    };
    let tasks = [1, 2].map(|number| {
        let (stream, count) = (host.events().into_stream(), counts[number].clone());
        thread::spawn(move || as_task(stream, &count))
    });
    load_and_look(&host, &counts);
    let _ = host.shutdown(Duration::from_secs(60));
    let by_polling = polls.join().unwrap();
    for task in tasks {
        assert_eq!(task.join().unwrap(), by_polling, "each has the same events");
    }
}

/// Reads only while the descriptor is readable. No thread of an execution may wait in the system, so it looks again and again: often while
/// others run, and each millisecond while all wait.
fn by_polling(mut events: PollableEvents, count: &Count) -> Vec<u64> {
    let mut numbers = Vec::new();
    let end = Instant::now() + Duration::from_secs(600);
    let mut turns = 0;
    while !events.is_over() || !is_readable(&events) {
        assert!(Instant::now() < end, "a descriptor is readable at the end of the host");
        turns += 1;
        if !is_readable(&events) {
            match turns % 16 {
                0 => thread::sleep(Duration::from_millis(1)),
                _ => thread::yield_now(),
            }
            continue;
        }
        while let Some(record) = events.try_recv() {
            note(&mut numbers, &record, count);
        }
    }
    in_order(numbers)
}

fn is_readable(events: &PollableEvents) -> bool {
    let mut descriptors = [PollFd::new(events, PollFlags::IN)];
    poll(&mut descriptors, Some(&Timespec::default())).unwrap() > 0
}

/// A task that is alone on its thread.
#[derive(Default)]
struct Task {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_all();
    }
}

/// Reads whenever it is woken.
fn as_task(mut stream: EventStream, count: &Count) -> Vec<u64> {
    let task = Arc::<Task>::default();
    let waker = Waker::from(task.clone());
    let mut numbers = Vec::new();
    loop {
        match Pin::new(&mut stream).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Ready(Some(record)) => note(&mut numbers, &record, count),
            Poll::Ready(None) => return in_order(numbers),
            Poll::Pending => {
                let mut woken = task.woken.lock();
                while !*woken {
                    task.changed.wait(&mut woken);
                }
                *woken = false;
            }
        }
    }
}
