//! Compares a mapped image with its artifact.
//!
//! # Why the image need not be kept mapped
//! The kernel reads the memory (`process_vm_readv`, or `/proc/self/mem` where a sandbox refuses that), so an address at which nothing is mapped, or
//! a page that the disk does not give back, is an error and not a signal. So the comparison holds nothing: no generation, no lock that a
//! caller, a reload or the reaper takes, and an image that goes away is not delayed. What was read counts only if the ledger is still open
//! afterwards: the ledger closes before the image is unmapped, so the bytes were the image's and not those of something that was mapped in
//! its place.
//!
//! # The reference
//! It is a checksum of each block, made of the linted bytes before they were written to the private copy (see
//! `reslot_artifact::read_only`). The copy itself is no reference: the kernel maps the pages of its page cache, so a bit that flips there
//! changes the image and the file together.

use reslot_artifact::read_only::{BLOCK, ReadOnlyParts, Reference};
use reslot_report::{ComparedParts, Comparison};
use reslot_sync::Instant;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// What an image is compared with.
pub(super) struct Integrity {
    reference: Reference,
    /// The difference between its addresses in memory and those in its file.
    base: usize,
    /// The private copy. It helps to find the place of a difference to the byte.
    copy: PathBuf,
}

impl Integrity {
    /// For an image that has just been mapped at `base`.
    pub(super) fn of(parts: ReadOnlyParts, base: usize, copy: &Path) -> Self {
        let memory = OwnMemory::default();
        let reference = parts.relocate(base as u64, |address, into| {
            memory.read(base.wrapping_add(address as usize), into).is_ok()
        });
        Self {
            reference,
            base,
            copy: copy.to_owned(),
        }
    }

    /// Compares all blocks. `is_closed` says whether the image may be unmapped by now; `go_on` is asked between blocks.
    pub(super) fn compare(&self, is_closed: &dyn Fn() -> bool, go_on: &dyn Fn() -> bool) -> Comparison {
        let begun = Instant::now();
        let memory = OwnMemory::default();
        let mut compared = ComparedParts::default();
        let mut found = [0; BLOCK];
        for block in self.reference.blocks() {
            if !go_on() {
                return Comparison::Ended;
            }
            let found = &mut found[..block.len()];
            let address = self.base.wrapping_add(block.address() as usize);
            let read = memory.read(address, found);
            if is_closed() {
                return Comparison::Ended;
            }
            if let Err(error) = read {
                return Comparison::Failed(format!("the kernel does not read {address:#x}: {error}"));
            }
            if block.is_intact(found) {
                continue;
            }
            if compared.differences.len() >= ComparedParts::MOST_DIFFERENCES {
                compared.more += 1;
                continue;
            }
            let in_file = block.offset_in_file().and_then(|offset| self.in_file(offset, found.len()));
            compared
                .differences
                .extend(self.reference.differences(block, found, in_file.as_deref()));
        }
        compared.differences.truncate(ComparedParts::MOST_DIFFERENCES);
        compared.parts = self.reference.parts().collect();
        compared.bound_bytes = self.reference.bound_bytes();
        compared.took = begun.elapsed();
        Comparison::Compared(compared)
    }

    fn in_file(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        File::open(&self.copy).ok()?.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

/// Reads this process's memory through the kernel.
#[derive(Default)]
struct OwnMemory {
    /// Opened when the system call is refused.
    file: std::cell::OnceCell<io::Result<File>>,
}

impl OwnMemory {
    fn read(&self, address: usize, into: &mut [u8]) -> io::Result<()> {
        match self.file.get() {
            Some(file) => Self::read_file(file, address, into),
            None => match Self::read_directly(address, into) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                    Self::read_file(self.file.get_or_init(|| File::open("/proc/self/mem")), address, into)
                }
                read => read,
            },
        }
    }

    fn read_file(file: &io::Result<File>, address: usize, into: &mut [u8]) -> io::Result<()> {
        let file = file
            .as_ref()
            .map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
        file.read_exact_at(into, address as u64)
    }

    fn read_directly(address: usize, into: &mut [u8]) -> io::Result<()> {
        let local = libc::iovec {
            iov_base: into.as_mut_ptr().cast(),
            iov_len: into.len(),
        };
        let remote = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(address),
            iov_len: into.len(),
        };
        // SAFETY: the kernel writes at most `into.len()` bytes to `into`, which is borrowed mutably, and checks the other address itself.
        let read = unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
        match usize::try_from(read) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(read) if read == into.len() => Ok(()),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EFAULT)),
        }
    }
}
