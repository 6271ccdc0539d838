//! The other systems. hot-lib-reloader, by its macro, watches the file, copies it, closes the old library and opens the copy. relib does not
//! watch, so the benchmark calls it at once when there is a new file. It either loads that file in place, after the old module was unloaded; or,
//! as a program must that calls it without a pause, it loads a copy under a new name.

use crate::artifacts::{Publish, Reloads, until};
use peer_reload_relib_host::Loaded;
use reslot_bench::Samples;
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Where hot-lib-reloader looks; its macro keeps its loader in a static, and never ends it.
static DEFAULT: OnceLock<Folder> = OnceLock::new();
static SMALLEST: OnceLock<Folder> = OnceLock::new();

fn path(folder: &'static OnceLock<Folder>) -> &'static Path {
    folder.get_or_init(Folder::new).path()
}

#[hot_lib_reloader::hot_module(dylib = "peer_reload_hot_lib", lib_dir = super::path(&super::DEFAULT))]
mod hot_default {
    hot_functions_from_file!("tests/bench/peers/reload-hot-lib/src/lib.rs");
    #[lib_version]
    pub fn version() -> usize {}
}

// With zero its watch would not sleep at all; from one millisecond it makes looks each quarter of it.
#[hot_lib_reloader::hot_module(dylib = "peer_reload_hot_lib", lib_dir = super::path(&super::SMALLEST), file_watch_debounce = 1)]
mod hot_smallest {
    hot_functions_from_file!("tests/bench/peers/reload-hot-lib/src/lib.rs");
    #[lib_version]
    pub fn version() -> usize {}
}

/// Which debounce.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Debounce {
    /// 500 ms.
    Default,
    /// 1 ms.
    Smallest,
}

/// hot-lib-reloader; there is one of each kind in a process.
pub struct HotLib {
    fixture: Fixture,
    debounce: Debounce,
    /// Never the same twice in a process: what has the hash of what is loaded is not reloaded.
    stamp: u64,
    /// In milliseconds.
    pub times: Samples,
}

impl HotLib {
    pub fn new(debounce: Debounce, fixture: &Fixture) -> Self {
        static STAMPS: AtomicU64 = AtomicU64::new(1);
        let mut this = Self {
            fixture: fixture.clone(),
            debounce,
            stamp: STAMPS.fetch_add(1_000_000, Ordering::Relaxed),
            times: Samples::new(),
        };
        if !this.folder().path().join(fixture.file()).exists() {
            this.folder().publish(fixture.file(), &fixture.stamped(this.stamp));
            assert_eq!(this.answer(), this.stamp, "it serves");
        }
        // It begins to watch on a thread of its own, some time later, and does not tell when.
        loop {
            this.stamp += 1;
            this.folder().publish(fixture.file(), &fixture.stamped(this.stamp));
            let begun = Instant::now();
            while this.answer() != this.stamp && begun.elapsed() < Duration::from_secs(3) {
                thread::yield_now();
            }
            if this.answer() == this.stamp {
                return this;
            }
        }
    }

    fn folder(&self) -> &'static Folder {
        match self.debounce {
            Debounce::Default => DEFAULT.get_or_init(Folder::new),
            Debounce::Smallest => SMALLEST.get_or_init(Folder::new),
        }
    }

    fn answer(&self) -> u64 {
        match self.debounce {
            Debounce::Default => hot_default::peer_hot_lib_stamp(),
            Debounce::Smallest => hot_smallest::peer_hot_lib_stamp(),
        }
    }

    fn version(&self) -> usize {
        match self.debounce {
            Debounce::Default => hot_default::version(),
            Debounce::Smallest => hot_smallest::version(),
        }
    }
}

impl Reloads for HotLib {
    fn begin(&mut self) {
        self.times = Samples::new();
    }

    fn reload(&mut self, _: u64) {
        self.stamp += 1;
        let (before, bytes) = (self.version(), self.fixture.stamped(self.stamp));
        // It is not made for a library that goes and comes.
        let begun = Publish::Replace.publish(self.folder(), self.fixture.file(), &bytes);
        // Calls hold its lock, which the reload would have to wait for, a millisecond each time: it is spared that.
        let took = until(begun, self.stamp, || (self.version() != before).then(|| self.answer()));
        self.times.push(took.as_secs_f64() * 1e3);
    }
}

/// relib, told at once.
pub struct Relib {
    fixture: Fixture,
    folder: Folder,
    copies: bool,
    loaded: Option<Loaded>,
    stamp: u64,
    /// In milliseconds.
    pub times: Samples,
}

impl Relib {
    /// In its place, or a copy under a new name.
    pub fn new(copies: bool, fixture: &Fixture) -> Self {
        let mut this = Self {
            fixture: fixture.clone(),
            folder: Folder::new(),
            copies,
            loaded: None,
            stamp: 0,
            times: Samples::new(),
        };
        this.reload(0);
        this.times = Samples::new();
        this
    }
}

impl Reloads for Relib {
    fn begin(&mut self) {
        self.times = Samples::new();
    }

    fn reload(&mut self, _: u64) {
        self.stamp += 1;
        let n = self.stamp;
        let bytes = self.fixture.stamped(n);
        let begun = Publish::Rename.publish(&self.folder, self.fixture.file(), &bytes);
        let path = self.folder.path().join(self.fixture.file());
        let copy = self.folder.path().join(format!("copy-{n}.so"));
        let loaded = if self.copies {
            fs::copy(&path, &copy).expect("the folder is writable");
            Loaded::load(&copy)
        } else {
            if let Some(old) = self.loaded.take() {
                old.unload();
            }
            Loaded::load(&path)
        };
        let took = until(begun, n, || loaded.stamp());
        self.times.push(took.as_secs_f64() * 1e3);
        // As Reslot does, the one that copies unloads when the new one serves: it is not part of the time.
        if let Some(old) = self.loaded.replace(loaded) {
            old.unload();
        }
        if self.copies {
            fs::remove_file(copy).expect("it is there");
        }
    }
}

impl Drop for Relib {
    fn drop(&mut self) {
        if let Some(loaded) = self.loaded.take() {
            loaded.unload();
        }
    }
}
