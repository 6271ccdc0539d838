//! Functions that libc calls on its own threads: those of timers, of message queues, and of asynchronous requests. libc keeps the
//! function pointers on its heap, where they cannot be found. This module checks instead whether such threads exist at all, and
//! whether such timers exist, which the kernel lists.

use super::{
    Pin,
    objects::{NOTIFY, TIMERS},
    threads::Threads,
};
use std::{collections::BTreeSet, fs, io};

/// The numbers of the timers of this process that notify by a thread. The kernel does not reuse a number.
#[derive(Debug)]
pub(super) struct Timers(BTreeSet<u64>);

impl Timers {
    pub(super) fn now() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/timers")?))
    }

    fn parse(list: &str) -> Self {
        let mut found = BTreeSet::new();
        let mut number: Option<u64> = None;
        for line in list.lines() {
            if let Some(id) = line.strip_prefix("ID: ") {
                number = id.trim().parse().ok();
            } else if let Some(how) = line.strip_prefix("notify: ")
                && (how.contains("/tid.") || how.starts_with("thread"))
            {
                // For SIGEV_THREAD libc lets the kernel send a signal to libc's own thread, which calls the function.
                found.extend(number);
            }
        }
        Self(found)
    }
}

/// The pin, if libc may call a library from its own threads. `imports` are the imports of the library and of the objects that came
/// with it; `before` are the timers that existed when the library was opened.
pub(super) fn pin(imports: &BTreeSet<&'static str>, before: Option<&Timers>) -> Option<Pin> {
    let imports: Vec<_> = NOTIFY
        .iter()
        .filter(|name| imports.contains(*name))
        .map(ToString::to_string)
        .collect();
    if imports.is_empty() {
        return None;
    }
    let threads = match Threads::of_libc() {
        Ok(threads) if threads.is_empty() => return None,
        Ok(threads) => threads,
        Err(error) => return Some(Pin::NotFoundOut(format!("libc's own threads: {error}"))),
    };
    // libc's timer thread stays after the last timer is deleted, so ask for timers. A timer function that is running is found by the
    // thread check.
    let none = BTreeSet::new();
    let before = before.map_or(&none, |before| &before.0);
    if imports == [TIMERS] && Timers::now().is_ok_and(|now| now.0.is_subset(before)) {
        return None;
    }
    Some(Pin::CalledByLibc { imports, threads })
}

#[cfg(test)]
mod tests {
    use super::{Timers, pin};
    use std::collections::BTreeSet;

    #[test]
    fn only_timers_that_notify_by_a_thread_are_listed() {
        let list = "ID: 3\nsignal: 32/000055d0\nnotify: signal/tid.412\nClockID: 1\nID: 4\nsignal: 10/0\nnotify: signal/pid.400\n\
                    ClockID: 0\nID: 5\nsignal: 0/0\nnotify: none/pid.0\nClockID: 0\nID: 6\nsignal: 0/0\nnotify: thread/pid.0\n\
                    ClockID: 0\n";
        assert_eq!(Timers::parse(list).0, BTreeSet::from([3, 6]));
    }

    #[test]
    fn a_library_without_such_imports_is_not_pinned() {
        assert_eq!(pin(&BTreeSet::from(["pthread_key_create"]), None), None);
    }
}
