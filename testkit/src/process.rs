//! Counts threads and descriptors of the process, for a test that is alone in it.

use crate::failure::Broken;
use std::{
    fs,
    time::{Duration, Instant},
};

/// Much longer than a thread needs to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// The numbers of threads and descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    threads: usize,
    descriptors: usize,
}

impl Process {
    pub(crate) fn now() -> Result<Self, Broken> {
        let count = |folder| match fs::read_dir(folder) {
            Ok(entries) => Ok(entries.count()),
            Err(error) => Err(Broken::Setup(format!("{folder} cannot be read: {error}"))),
        };
        Ok(Self {
            threads: count("/proc/self/task")?,
            descriptors: count("/proc/self/fd")?,
        })
    }

    /// Checks that the numbers are as before. It waits a little, because the kernel removes threads a moment after they were
    /// joined.
    pub(crate) fn must_be_back(self) -> Result<(), Broken> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Self::now()?;
            if now.threads <= self.threads && now.descriptors <= self.descriptors {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Broken::Left(format!(
                    "the process has {} thread(s), before the run it had {}, and {} descriptor(s), before it had {}; \
                         `strict_process` is for a \
                     test that is alone in its process",
                    now.threads, self.threads, now.descriptors, self.descriptors
                )));
            }
            std::thread::yield_now();
        }
    }
}
