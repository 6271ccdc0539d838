//! The resources of a process: mappings, threads, descriptors, pthread keys and resident memory. A test compares two
//! footprints.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// The resources of this process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Lines of the kernel's map that are executable.
    pub executable_mappings: usize,
    /// All lines of the kernel's map.
    pub mappings: usize,
    /// Threads.
    pub threads: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// The number of unused pthread keys; libc has 1,024 for a process.
    pub free_keys: usize,
    /// Resident memory in KiB.
    pub resident_kib: usize,
}

impl Footprint {
    /// Measures now, after libc has returned unused memory to the kernel, which would vary by some megabytes between two
    /// measurements.
    pub fn trimmed() -> Self {
        // SAFETY: it may be called at any time, from any thread.
        unsafe { libc::malloc_trim(0) };
        Self::now()
    }

    /// Measures now.
    ///
    /// # Panics
    /// If /proc cannot be read.
    pub fn now() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
        let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Self {
            executable_mappings: maps
                .lines()
                .filter(|line| line.split(' ').nth(1).is_some_and(|flags| flags.contains('x')))
                .count(),
            mappings: maps.lines().count(),
            threads: entries("/proc/self/task"),
            descriptors: entries("/proc/self/fd"),
            free_keys: free_keys(),
            resident_kib: resident.expect("the kernel tells VmRSS"),
        }
    }
}

/// The bytes that this process has allocated from libc, by all allocators of all images.
pub fn allocated_bytes() -> usize {
    // SAFETY: it may be called at any time, from any thread.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Discards standard output until this is dropped.
pub(crate) struct Silence(OwnedFd);

impl Silence {
    /// For plugins that print a lot.
    ///
    /// # Panics
    /// If there is no descriptor left.
    pub(crate) fn of_stdout() -> Self {
        std::io::stdout().flush().expect("it can be written to");
        let before = std::io::stdout().as_fd().try_clone_to_owned().expect("a descriptor");
        put_in_place_of_stdout(&File::create("/dev/null").expect("it is there"));
        Self(before)
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        put_in_place_of_stdout(&self.0);
    }
}

fn put_in_place_of_stdout(file: &impl AsRawFd) {
    // SAFETY: both descriptors are open, and nobody else owns the place.
    assert_eq!(unsafe { libc::dup2(file.as_raw_fd(), 1) }, 1);
}

fn entries(folder: &str) -> usize {
    fs::read_dir(folder).expect("/proc is mounted").count()
}

fn free_keys() -> usize {
    let mut made = Vec::new();
    loop {
        let mut key = 0;
        // SAFETY: room for a key, and no destructor.
        if unsafe { libc::pthread_key_create(&raw mut key, None) } != 0 {
            break;
        }
        made.push(key);
    }
    for key in &made {
        // SAFETY: made above and used by nobody.
        unsafe { libc::pthread_key_delete(*key) };
    }
    made.len()
}
