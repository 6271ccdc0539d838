//! The artifacts of the reload benchmark: the fixtures as cargo builds them, and padded to larger sizes; and how they
//! are published.

use reslot_bench::padded;
use reslot_tests::{Fixture, Folder, Profile};
use std::{
    fs::{self, OpenOptions},
    hint::spin_loop,
    io::Write,
    time::{Duration, Instant},
};

/// How large, in bytes; `None`: as cargo builds it.
#[derive(Clone, Copy)]
pub struct Class {
    pub profile: Profile,
    pub size: Option<usize>,
}

impl Class {
    /// `0.6 MB, release`.
    pub fn name(self, fixture: &Fixture) -> String {
        let profile = match self.profile {
            Profile::Debug => "debug",
            _ => "release",
        };
        format!("{:.1} MB, {profile}", fixture.bytes().len() as f64 / 1e6)
    }

    /// At least as large as `other`, so that nobody is compared with a smaller artifact.
    pub fn take(self, fixture: Fixture, other: usize) -> Fixture {
        padded(fixture, self.size.unwrap_or(0).max(other))
    }
}

/// How a file comes into the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// Written beside its place, which is free, and renamed: nothing but the name changes while the clock runs.
    Rename,
    /// The same onto the old file. The rename then takes the file system half a millisecond (ext4 allocates the new file's blocks, and
    /// frees the old one's), before and after the watch is notified, and the publisher waits for that.
    Replace,
    /// Written over the one that is there.
    Overwrite,
}

impl Publish {
    /// Answers when the file was complete in its place: just before the rename; all bytes written, just before it is closed.
    pub fn publish(self, folder: &Folder, name: &str, bytes: &[u8]) -> Instant {
        let (new, path) = (folder.path().join(".new.tmp"), folder.path().join(name));
        match self {
            Self::Rename | Self::Replace => {
                if self == Self::Rename {
                    let _ = fs::remove_file(&path);
                }
                fs::write(&new, bytes).expect("the folder is writable");
                let begun = Instant::now();
                fs::rename(&new, &path).expect("the folder is writable");
                begun
            }
            Self::Overwrite => {
                let mut file = OpenOptions::new()
                    .write(true)
                    .truncate(true)
                    .open(&path)
                    .expect("it is there");
                file.write_all(bytes).expect("the folder is writable");
                Instant::now()
            }
        }
    }
}

/// Calls until the build of that number answers.
pub fn until(begun: Instant, n: u64, mut stamp: impl FnMut() -> Option<u64>) -> Duration {
    while stamp() != Some(n) {
        assert!(begun.elapsed() < Duration::from_secs(30), "build {n} never answered");
        spin_loop();
    }
    begun.elapsed()
}

/// Somebody who takes up new builds.
pub trait Reloads {
    /// Publishes the build of this number, waits for its first answer, and until nothing is left to do in the background.
    fn reload(&mut self, n: u64);
    /// What was measured so far was only to warm up.
    fn begin(&mut self);
}

/// So many reloads of each are not counted: after them Reslot has files to write over, and the kernel the memory that it gives out.
const WARM: u64 = 5;

/// So many rounds of each, from the first on. Each goes first as often as the others, and not always after the same one: what
/// one leaves to the kernel (pages to free, files to write) must not always be the same other's burden.
pub fn rounds(subjects: &mut [(&mut dyn Reloads, u64)]) {
    let most = subjects.iter().map(|(_, rounds)| *rounds).max().unwrap_or(0);
    let count = subjects.len();
    let divides = |step: usize| (2..=step).any(|by| step.is_multiple_of(by) && count.is_multiple_of(by));
    let steps: Vec<usize> = (1..count.max(2)).filter(|step| !divides(*step)).collect();
    for n in 1..=WARM {
        // Those that take half a second each have nothing to warm up.
        for (subject, _) in subjects.iter_mut().filter(|(_, rounds)| *rounds == most) {
            subject.reload(1_000_000 + n);
        }
    }
    subjects.iter_mut().for_each(|(subject, _)| subject.begin());
    for n in 1..=most {
        let step = steps[n as usize % steps.len()];
        for turn in 0..count {
            let (subject, rounds) = &mut subjects[(n as usize + turn * step) % count];
            if n <= *rounds {
                subject.reload(n);
            }
        }
    }
}
