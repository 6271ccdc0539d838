//! What libc calls on threads of its own: the functions of timers, of message queues, and of requests that it works off later. It
//! keeps them on its heap, so that they cannot be found. What is asked instead is whether there are such threads at all, and
//! such timers: the kernel lists the latter.

use super::{
    Pin,
    objects::{NOTIFY, TIMERS},
    threads::Threads,
};
use std::{collections::BTreeSet, fs, io};

/// The timers of this process that notify by a thread, by number; the kernel gives none twice.
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
                // libc has the kernel send a signal to its own thread, which calls the function.
                found.extend(number);
            }
        }
        Self(found)
    }
}

/// Whether libc may call a library that imports this, or something that came with it. `before` is what was there when the library
/// was opened.
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
    // The thread of the timers stays when they are gone. Functions of theirs that still run are found as threads.
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
    fn timers_that_notify_by_a_thread_are_told_from_others() {
        let list = "ID: 3\nsignal: 32/000055d0\nnotify: signal/tid.412\nClockID: 1\nID: 4\nsignal: 10/0\nnotify: signal/pid.400\n\
                    ClockID: 0\nID: 5\nsignal: 0/0\nnotify: none/pid.0\nClockID: 0\nID: 6\nsignal: 0/0\nnotify: thread/pid.0\n\
                    ClockID: 0\n";
        assert_eq!(Timers::parse(list).0, BTreeSet::from([3, 6]));
    }

    #[test]
    fn nothing_is_asked_of_a_library_that_imports_nothing_of_the_kind() {
        assert_eq!(pin(&BTreeSet::from(["pthread_key_create"]), None), None);
    }
}
