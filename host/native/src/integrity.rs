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
//! It is a checksum of each block (see `reslot_artifact::read_only`), made of the linted bytes at the first comparison, so that a reload does
//! not pay for it. It is made of bytes that have the hash of the linted ones, which the host took from its own memory before it wrote the
//! private copy: of the copy, or else of the published file, after the same lint. A copy with another hash is no reference: the kernel maps the
//! pages of its page cache, so a bit that flips there changes the image and the file together. If the published file is another one as well,
//! the copy itself is reported as the difference. Once the reference is made, no file is needed any more.
//!
//! Only the words that the loader binds to other libraries are in no file. They are compared with what they were at the first comparison.

use reslot_artifact::{
    ContentHash, ImageDifference, ImagePart,
    lint::{self, Expectations},
    read_only::{BLOCK, ReadOnlyParts, Reference},
};
use reslot_report::{ComparedParts, Comparison};
use reslot_stage::{StageLimits, read_source};
use reslot_sync::Instant;
use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::OnceLock,
};

/// How many bytes of a file are read between two questions whether to go on.
const CHUNK: u64 = 1 << 20;

/// What an image is compared with.
pub(super) struct Integrity {
    /// Made at the first comparison.
    reference: OnceLock<Reference>,
    /// The hash of the linted bytes.
    hash: ContentHash,
    /// The difference between its addresses in memory and those in its file.
    base: usize,
    /// The private copy. It also helps to find the place of a difference to the byte.
    copy: PathBuf,
    /// The published file.
    published: PathBuf,
}

/// Why an image has no reference.
enum NoReference {
    /// The private copy has this many bytes, and they are not those that were linted.
    CopyChanged(usize),
    /// The comparison is to end.
    Ended,
    /// For another reason.
    Failed(String),
}

impl Integrity {
    /// For an image that was mapped at `base`. This reads nothing.
    pub(super) fn new(hash: ContentHash, base: usize, copy: PathBuf, published: PathBuf) -> Self {
        Self {
            reference: OnceLock::new(),
            hash,
            base,
            copy,
            published,
        }
    }

    /// Compares all blocks. `is_closed` says whether the image may be unmapped by now; `may_continue` is asked between blocks.
    pub(super) fn compare(&self, is_closed: &dyn Fn() -> bool, may_continue: &dyn Fn() -> bool) -> Comparison {
        let begun = Instant::now();
        let memory = OwnMemory::default();
        let mut compared = ComparedParts::default();
        let reference = match self.reference.get() {
            Some(reference) => reference,
            None => match self.make_reference(&memory, may_continue) {
                // The copy is deleted, and its file written anew, after the image was closed.
                _ if is_closed() => return Comparison::Ended,
                Ok(reference) => self.reference.get_or_init(|| reference),
                Err(NoReference::Ended) => return Comparison::Ended,
                Err(NoReference::Failed(why)) => return Comparison::Failed(why),
                Err(NoReference::CopyChanged(len)) => {
                    let part = ImagePart::PrivateCopy;
                    compared
                        .differences
                        .push(ImageDifference::new(part, part.name(), 0, 0, len, None));
                    compared.took = begun.elapsed();
                    return Comparison::Compared(compared);
                }
            },
        };
        let mut found = [0; BLOCK];
        for block in reference.blocks() {
            if !may_continue() {
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
            let in_file = block.offset_in_file().and_then(|offset| self.in_file(offset, found.len()));
            let in_file = in_file.as_deref();
            let room = ComparedParts::MOST_DIFFERENCES - compared.differences.len();
            if room == 0 {
                compared.more += reference.count_differences(block, found, in_file);
                continue;
            }
            let mut differences = reference.differences(block, found, in_file);
            compared.more += differences.len().saturating_sub(room);
            differences.truncate(room);
            compared.differences.extend(differences);
        }
        compared.parts = reference.parts().collect();
        compared.bound_bytes = reference.bound_bytes();
        compared.took = begun.elapsed();
        Comparison::Compared(compared)
    }

    fn make_reference(&self, memory: &OwnMemory, may_continue: &dyn Fn() -> bool) -> Result<Reference, NoReference> {
        let bytes = self.linted_bytes(may_continue)?;
        if !may_continue() {
            return Err(NoReference::Ended);
        }
        let Some(parts) = ReadOnlyParts::of(&bytes) else {
            let why = "no read-only part of the artifact was found";
            return Err(NoReference::Failed(why.to_owned()));
        };
        let read = |address, into: &mut [u8]| memory.read(self.base.wrapping_add(address as usize), into);
        parts.relocate(self.base as u64, read).map_err(|error| {
            let what = "the kernel does not read the constants with addresses";
            NoReference::Failed(format!("{what}: {error}"))
        })
    }

    /// Bytes with the hash of the linted ones.
    fn linted_bytes(&self, may_continue: &dyn Fn() -> bool) -> Result<Vec<u8>, NoReference> {
        let of_copy = match self.read_copy(may_continue) {
            Ok(Some(bytes)) if ContentHash::of(&bytes) == self.hash => return Ok(bytes),
            Ok(Some(bytes)) => NoReference::CopyChanged(bytes.len()),
            Ok(None) => return Err(NoReference::Ended),
            Err(error) => NoReference::Failed(format!(
                "its private copy cannot be read ({error}), and {} is not the file that was linted",
                self.published.display()
            )),
        };
        if !may_continue() {
            return Err(NoReference::Ended);
        }
        let Ok(mut source) = read_source(&self.published, &StageLimits::default()) else {
            return Err(of_copy);
        };
        let is_it = source.hash == self.hash || {
            let linted = lint::lint(&mut source.bytes, &Expectations::of_this_build());
            linted.is_ok() && ContentHash::of(&source.bytes) == self.hash
        };
        match is_it {
            true => Ok(source.bytes.to_vec()),
            false => Err(of_copy),
        }
    }

    /// The bytes of the private copy; none if `may_continue` has answered `false`.
    fn read_copy(&self, may_continue: &dyn Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
        let mut file = File::open(&self.copy)?;
        let mut bytes = Vec::new();
        loop {
            if !may_continue() {
                return Ok(None);
            }
            if (&mut file).take(CHUNK).read_to_end(&mut bytes)? == 0 {
                return Ok(Some(bytes));
            }
        }
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

#[cfg(test)]
mod tests {
    use super::{ComparedParts, Comparison, ContentHash, File, ImagePart, Integrity, OwnMemory};
    use libloading::os::unix::Library;
    use std::{cell::OnceCell, fs, path::PathBuf};

    /// A library of libc's that stays mapped, as if it were an image: where it is mapped, and its file.
    fn library() -> (usize, PathBuf) {
        let flags = libc::RTLD_NOW | libc::RTLD_NODELETE;
        // SAFETY: it has no constructors that run code of others.
        drop(unsafe { Library::open(Some("libresolv.so.2"), flags) }.unwrap());
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains("/libresolv.so.2")).unwrap();
        let base = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
        (base, PathBuf::from(&line[line.find('/').unwrap()..]))
    }

    /// The integrity of that library, with this private copy.
    fn image(base: usize, copy: PathBuf) -> Integrity {
        let (_, file) = library();
        Integrity::new(ContentHash::of(&fs::read(&file).unwrap()), base, copy, file)
    }

    fn compare(integrity: &Integrity) -> Comparison {
        integrity.compare(&|| false, &|| true)
    }

    #[track_caller]
    fn compared(integrity: &Integrity) -> ComparedParts {
        match compare(integrity) {
            Comparison::Compared(compared) => compared,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn why_failed(integrity: &Integrity) -> String {
        match compare(integrity) {
            Comparison::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reference_comes_from_the_copy_or_from_the_published_file_and_is_kept() {
        let (base, file) = library();
        let gone = PathBuf::from("/nowhere");
        for copy in [file, gone.clone()] {
            let mut image = image(base, copy);
            let first = compared(&image);
            assert!(first.differences.is_empty() && first.bytes() > 20_000, "{first:?}");
            // No file is needed any more.
            (image.copy, image.published) = (gone.clone(), gone.clone());
            assert_eq!(compared(&image).bytes(), first.bytes());
        }
    }

    #[test]
    fn copy_that_has_changed_is_a_difference_if_the_published_file_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.so");
        let (base, file) = library();
        let mut bytes = fs::read(file).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&copy, &bytes).unwrap();
        let mut image = image(base, copy);
        assert!(
            compared(&image).differences.is_empty(),
            "the published file is the linted one"
        );
        image = Integrity {
            published: folder.path().join("none"),
            reference: std::sync::OnceLock::new(),
            ..image
        };
        let differences = compared(&image).differences;
        assert_eq!(
            (differences.len(), differences[0].part, differences[0].len),
            (1, ImagePart::PrivateCopy, bytes.len())
        );
    }

    #[test]
    fn image_of_which_nothing_can_be_read_is_not_intact() {
        let no_library = PathBuf::from("/proc/self/status");
        let empty = Integrity::new(ContentHash::of(b""), 0, PathBuf::from("/dev/null"), no_library.clone());
        assert_eq!(why_failed(&empty), "no read-only part of the artifact was found");
        // Nothing is mapped there.
        let why = why_failed(&image(0, library().1));
        assert!(
            why.starts_with("the kernel does not read the constants with addresses: "),
            "{why}"
        );
        let gone = Integrity::new(ContentHash::of(b""), 0, PathBuf::from("/nowhere"), no_library);
        let why = why_failed(&gone);
        assert!(
            why.starts_with("its private copy cannot be read (No such file or directory"),
            "{why}"
        );
        assert!(
            why.ends_with("and /proc/self/status is not the file that was linted"),
            "{why}"
        );
    }

    #[test]
    fn comparison_of_an_image_that_goes_has_no_result() {
        let (base, file) = library();
        let image = image(base, file);
        assert_eq!(image.compare(&|| true, &|| true), Comparison::Ended);
        assert!(image.reference.get().is_none(), "what was read may not have been the image");
        assert_eq!(image.compare(&|| false, &|| false), Comparison::Ended);
    }

    #[test]
    fn memory_is_read_by_the_file_where_the_system_call_is_refused() {
        static WORDS: [u8; 4096] = [7; 4096];
        let by_file = OwnMemory {
            file: OnceCell::from(File::open("/proc/self/mem")),
        };
        for memory in [OwnMemory::default(), by_file] {
            let mut found = [0; 4096];
            memory.read(WORDS.as_ptr().addr(), &mut found).unwrap();
            assert_eq!(found, WORDS);
            memory.read(0, &mut found).unwrap_err();
        }
        let refused = OwnMemory {
            file: OnceCell::from(Err(std::io::ErrorKind::PermissionDenied.into())),
        };
        refused.read(WORDS.as_ptr().addr(), &mut [0; 16]).unwrap_err();
    }
}
