//! The bytes of one artifact, in memory that is used again for the next one: a fresh half megabyte for each reload is page
//! faults to pay for, and leaves the allocator's heap in pieces that grow over thousands of them.

use parking_lot::Mutex;
use reslot_process::PerProcess;
use std::ops::{Deref, DerefMut};

/// What is larger goes back to the system at once.
const MOST_KEPT: usize = 64 << 20;

static SPARE: PerProcess<Mutex<Option<Vec<u8>>>> = PerProcess::new(Mutex::default);

/// An artifact's bytes.
#[derive(PartialEq, Eq)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// Empty, with what room there is from the last one.
    pub(super) fn take() -> Self {
        Self(SPARE.get().lock().take().unwrap_or_default())
    }

    /// Those of an artifact that was not read from where it was published.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The same once more, for another copy.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    pub(super) fn as_mut_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        if (1..=MOST_KEPT).contains(&bytes.capacity()) {
            bytes.clear();
            let displaced = SPARE.get().lock().replace(bytes);
            drop(displaced);
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
