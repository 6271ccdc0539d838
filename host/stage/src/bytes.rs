//! The bytes of one artifact, in memory that is reused for the next one. Half a megabyte of new memory for each reload would
//! cost page faults, and would fragment the heap over thousands of reloads.

use reslot_sync::Mutex;
use reslot_system::PerProcess;
use std::ops::{Deref, DerefMut};

/// Larger buffers are freed at once.
const MOST_KEPT: usize = 64 << 20;

static SPARE: PerProcess<Mutex<Option<Vec<u8>>>> = PerProcess::new(Mutex::default);

/// An artifact's bytes.
#[derive(PartialEq, Eq)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// An empty buffer, with the memory of the last one.
    pub(super) fn take() -> Self {
        Self(SPARE.get().lock().take().unwrap_or_default())
    }

    /// The bytes of an artifact that was not read from its published file.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// A copy of the bytes.
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
