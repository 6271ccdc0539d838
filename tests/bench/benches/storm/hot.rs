//! hot-lib-reloader under calls, with the smallest debounce that lets its watch sleep. Its loader is a static of the process and never
//! ends: measure everything else before it.

use crate::times::{Rounds, round};
use reslot_tests::{Fixture, Folder};
use std::{
    hint::black_box,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

static FOLDER: OnceLock<Folder> = OnceLock::new();

fn path() -> &'static Path {
    FOLDER.get_or_init(Folder::new).path()
}

#[hot_lib_reloader::hot_module(dylib = "peer_reload_hot_lib", lib_dir = super::path(), file_watch_debounce = 1)]
mod hot {
    hot_functions_from_file!("tests/bench/peers/reload-hot-lib/src/lib.rs");
    #[lib_version]
    pub fn version() -> usize {}
}

/// The loader, and what it is given.
pub struct Hot {
    fixture: Fixture,
    stamp: AtomicU64,
}

impl Hot {
    pub fn new(fixture: Fixture) -> Self {
        let this = Self {
            fixture,
            stamp: AtomicU64::new(1),
        };
        this.publish();
        assert_eq!(hot::peer_hot_lib_stamp(), 1, "it serves");
        this
    }

    fn publish(&self) {
        let stamp = self.stamp.fetch_add(1, Ordering::Relaxed);
        FOLDER
            .get_or_init(Folder::new)
            .publish(self.fixture.file(), &self.fixture.stamped(stamp));
    }

    /// One round of calls; with reloads, one after the other.
    pub fn round(&self, rounds: &mut Rounds, callers: usize, reloads: bool, length: Duration) {
        let caller = || || black_box(hot::peer_hot_lib_stamp()) > 0;
        let (times, failed, changes) = round(callers, caller, || {
            if reloads {
                self.reload(length)
            } else {
                thread::sleep(length);
                0
            }
        });
        rounds.push(&times, failed, changes);
        // One that the callers kept waiting.
        let newest = self.stamp.load(Ordering::Relaxed) - 1;
        let begun = Instant::now();
        while hot::peer_hot_lib_stamp() != newest && begun.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Answers how many reloads there were.
    fn reload(&self, length: Duration) -> u64 {
        let (begun, before) = (Instant::now(), hot::version());
        while begun.elapsed() < length {
            let (seen, published) = (hot::version(), Instant::now());
            self.publish();
            // It may miss one; it is then given another.
            while hot::version() == seen && published.elapsed() < Duration::from_millis(200) && begun.elapsed() < length {
                thread::sleep(Duration::from_micros(100));
            }
        }
        (hot::version() - before) as u64
    }
}
