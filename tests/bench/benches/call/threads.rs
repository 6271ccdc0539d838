//! The same on one thread and on two at once. Each thread has its own counter, so the difference shows what the call
//! path shares between threads.

use crate::comparison::Comparison;
use std::{sync::Barrier, thread};

/// The name of a way's row for two threads.
pub fn two(name: &str) -> String {
    format!("{name}, two threads")
}

/// One way, on one thread and on two. `time` gets the number of the caller, and makes what it calls with; so many calls,
/// answered in nanoseconds a call.
pub fn both<'a>(comparison: &mut Comparison<'a>, name: &str, time: impl Fn(usize, u64) -> f64 + Clone + Sync + 'a) {
    let on_one = time.clone();
    comparison.way(name, move |calls| on_one(0, calls));
    comparison.way(two(name), move |calls| {
        let begin = Barrier::new(2);
        // Both threads are spawned, so that neither has this one's caches to itself.
        let both = thread::scope(|scope| {
            let threads = [0, 1].map(|caller| {
                let (begin, time) = (&begin, &time);
                scope.spawn(move || {
                    begin.wait();
                    time(caller, calls)
                })
            });
            threads.map(|thread| thread.join().expect("a caller panicked"))
        });
        both[0].max(both[1])
    });
}
