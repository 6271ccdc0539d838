//! What is reloaded: the fixtures as cargo builds them, and padded to the size of something larger; and how they are published.

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
        let size = self.size.unwrap_or(0).max(other);
        fixture.changed(|bytes| pad(bytes, size))
    }
}

pub const PADDING: &str = "read-only data that is mapped with the rest and that nobody reads: the note of the linker's build id made way for its \
                           program header";

const LOAD: u32 = 1;
const NOTE: u32 = 4;
const PAGE: usize = 4096;

/// Appends a segment of read-only data, mapped behind the others, so that the file has this size. A file that is larger stays.
fn pad(bytes: &mut Vec<u8>, size: usize) {
    let begin = bytes.len().next_multiple_of(PAGE);
    if begin + PAGE > size {
        return;
    }
    let length = size - begin;
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize;
    let first = word(bytes, 0x20);
    let count = usize::from(u16::from_le_bytes([bytes[0x38], bytes[0x39]]));
    let headers: Vec<usize> = (0..count).map(|n| first + n * 56).collect();
    let kind = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let loads = headers.iter().filter(|at| kind(bytes, **at) == LOAD);
    let end = loads
        .clone()
        .map(|at| word(bytes, at + 16) + word(bytes, at + 40))
        .max()
        .expect("a library has segments");
    let note = *headers
        .iter()
        .rfind(|at| kind(bytes, **at) == NOTE)
        .expect("the linker writes a build id");
    // The loader takes them in the order of their addresses.
    assert!(loads.max() < Some(&note), "the note's header comes last");
    let address = end.next_multiple_of(PAGE);
    bytes[note..note + 8].copy_from_slice(&[1, 0, 0, 0, 4, 0, 0, 0]);
    let fields = [begin, address, address, length, length, PAGE];
    for (field, value) in fields.into_iter().enumerate() {
        let at = note + 8 + 8 * field;
        bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    }
    bytes.resize(begin, 0);
    // No zeros, and nothing that repeats: nothing on the way shall find it easy.
    let mut next: u64 = 0x9E37_79B9_7F4A_7C15;
    while bytes.len() < size {
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        bytes.extend_from_slice(&next.to_le_bytes());
    }
    bytes.truncate(size);
}

/// How a file comes into the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// Written beside its place, and renamed.
    Rename,
    /// Written over the one that is there.
    Overwrite,
}

impl Publish {
    /// Answers when the file was complete in its place: just before the rename; all bytes written, just before it is closed.
    pub fn publish(self, folder: &Folder, name: &str, bytes: &[u8]) -> Instant {
        let (new, path) = (folder.path().join(".new.tmp"), folder.path().join(name));
        match self {
            Self::Rename => {
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
