//! Unneeded private copies that are kept for reuse. Writing a file with existing pages takes a sixth of the time of a new
//! file, which would otherwise be most of a reload's time.
//!
//! # Why no process sees new bytes in place of old ones
//! A file is kept when its last name would be removed, which is after its image was proven gone, and it is reused under a
//! new name. Another process may still have it mapped (a forked child without `exec`, a debugger). To detect this, a write
//! lease is requested, which the kernel grants only if no other open file or mapping exists. If the lease is refused, or if
//! the kernel cannot know, the file is removed, and the next copy is a new file. The kernel cannot know on overlayfs: there
//! mappings belong to the underlying files, and a lease is granted although they are mapped.

use reslot_sync::Mutex;
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// The number of files that are kept. Each reload uses one and leaves one.
const MOST: usize = 2;

/// The hidden spare files of one staging folder.
#[derive(Debug, Clone)]
pub struct Spares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    process: u32,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    files: Vec<PathBuf>,
    /// Paths whose removal failed. It is tried again at each `give_up`, and when the folder is removed.
    unremoved: BTreeSet<PathBuf>,
    /// A counter for their names.
    count: u64,
    /// The folder is being removed.
    closed: bool,
}

impl Spares {
    /// An empty set for this private folder.
    pub fn new(folder: &Path) -> Self {
        Self(Arc::new(Inner {
            folder: folder.to_path_buf(),
            process: std::process::id(),
            kept: Mutex::default(),
        }))
    }

    /// Removes a file's name. If it was the last name and there is room, the file is kept as a spare.
    ///
    /// # Errors
    /// If the name cannot be removed now. It is tried again with the next one, and at the end.
    pub fn give_up(&self, path: &Path) -> io::Result<()> {
        // A forked child has a copy of this value, but must not change the parent's files.
        if self.0.process != std::process::id() {
            return Ok(());
        }
        self.try_again();
        let is_last = fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1);
        let mut kept = self.0.kept.lock();
        if !is_last || kept.closed || kept.files.len() >= MOST {
            drop(kept);
            return self.remove(path);
        }
        kept.count += 1;
        let spare = self.0.folder.join(format!(".spare-{}", kept.count));
        match fs::rename(path, &spare) {
            Ok(()) => {
                kept.files.push(spare);
                Ok(())
            }
            Err(_) => {
                drop(kept);
                self.remove(path)
            }
        }
    }

    /// Removes a name, or remembers it.
    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.0.kept.lock().unremoved.insert(path.to_owned());
                Err(error)
            }
            removed => removed,
        }
    }

    fn try_again(&self) {
        let mut unremoved = std::mem::take(&mut self.0.kept.lock().unremoved);
        while let Some(path) = unremoved.pop_first() {
            // What is wrong with the folder is wrong for the others, too.
            if self.remove(&path).is_err() {
                return self.0.kept.lock().unremoved.append(&mut unremoved);
            }
        }
    }

    /// Moves a spare file to `path`, which must not exist. None if there is no spare file that is unused by other processes.
    pub(super) fn take(&self, path: &Path) -> Option<File> {
        let spare = self.0.kept.lock().files.pop()?;
        match move_if_unseen(&spare, path) {
            Ok(file) => Some(file),
            Err(reason) => {
                tracing::debug!(?spare, %reason, "a spare file is not used again");
                let _ = self.remove(&spare);
                None
            }
        }
    }

    /// Deletes the spare files. True if there were any.
    pub(super) fn clear(&self) -> bool {
        let files = std::mem::take(&mut self.0.kept.lock().files);
        for file in &files {
            let _ = self.remove(file);
        }
        !files.is_empty()
    }

    /// Ends the reuse, because the folder is being removed.
    pub(super) fn close(&self) {
        self.0.kept.lock().closed = true;
        self.try_again();
        self.clear();
    }
}

fn move_if_unseen(spare: &Path, path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(spare)?;
    if file.metadata()?.nlink() != 1 {
        return Err(io::Error::other("it has another name"));
    }
    if !leases_detect_mappings(&file)? {
        return Err(io::Error::other("its file system does not tell who has it mapped"));
    }
    // SAFETY: fcntl on an open descriptor with these commands takes an integer and accesses no memory of this process. If another
    // process opens the file while we hold the lease, it waits, and the kernel sends us SIGURG (by F_SETSIG), which is ignored by
    // default, in place of SIGIO.
    unsafe {
        let descriptor = file.as_raw_fd();
        if libc::fcntl(descriptor, super::source::F_SETSIG, libc::SIGURG) != 0
            || libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_WRLCK) != 0
        {
            return Err(io::Error::last_os_error());
        }
        libc::fcntl(descriptor, libc::F_SETLEASE, libc::F_UNLCK);
    }
    // Only this process makes names in this folder, and they are random, so the target does not exist.
    fs::rename(spare, path)?;
    Ok(file)
}

/// Whether the file is on a file system for which this was tested or verified in the source: ext2 to ext4, XFS, Btrfs, F2FS,
/// tmpfs.
fn leases_detect_mappings(file: &File) -> io::Result<bool> {
    const KNOWN: [libc::c_long; 5] = [
        libc::EXT4_SUPER_MAGIC as libc::c_long,
        libc::XFS_SUPER_MAGIC as libc::c_long,
        libc::BTRFS_SUPER_MAGIC as libc::c_long,
        libc::F2FS_SUPER_MAGIC as libc::c_long,
        libc::TMPFS_MAGIC as libc::c_long,
    ];
    // SAFETY: an all-zero statfs is a valid value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and `found` is writable.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(KNOWN.contains(&(found.f_type as libc::c_long)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn given_up(folder: &Path, spares: &Spares) -> u64 {
        let path = folder.join("old.so");
        fs::write(&path, b"old").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        spares.give_up(&path).unwrap();
        assert!(!path.exists());
        inode
    }

    #[test]
    fn unmapped_copy_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (spares, new) = (Spares::new(folder.path()), folder.path().join("new.so"));
        assert!(spares.take(&new).is_none(), "there is none yet");
        let inode = given_up(folder.path(), &spares);
        let file = spares.take(&new).expect("nobody else sees it");
        assert_eq!(
            (file.metadata().unwrap().ino(), fs::metadata(&new).unwrap().ino()),
            (inode, inode)
        );
        assert!(spares.take(&new).is_none(), "there was one");
    }

    #[test]
    fn copy_that_is_open_or_has_another_name_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (spares, new) = (Spares::new(folder.path()), folder.path().join("new.so"));
        given_up(folder.path(), &spares);
        let seen = File::open(folder.path().join(".spare-1")).unwrap();
        assert!(spares.take(&new).is_none() && !new.exists());
        let mut bytes = [0; 3];
        seen.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"old");

        given_up(folder.path(), &spares);
        // Like a debugger or a forked child: the file is mapped without an open descriptor.
        let opened = File::open(folder.path().join(".spare-2")).unwrap();
        // SAFETY: the kernel chooses the address, so the mapping overlaps no other memory. It is unmapped below.
        let mapped = unsafe {
            let (read, private) = (libc::PROT_READ, libc::MAP_PRIVATE);
            libc::mmap(std::ptr::null_mut(), 3, read, private, opened.as_raw_fd(), 0)
        };
        assert_ne!(mapped, libc::MAP_FAILED);
        drop(opened);
        assert!(spares.take(&new).is_none() && !new.exists());
        // SAFETY: the range was mapped above, and nobody uses it any more.
        unsafe { libc::munmap(mapped, 3) };

        let (path, other) = (folder.path().join("two.so"), folder.path().join("kept.so"));
        fs::write(&path, b"two").unwrap();
        fs::hard_link(&path, &other).unwrap();
        spares.give_up(&path).unwrap();
        assert!(spares.take(&new).is_none() && other.exists(), "its other name keeps it");
    }

    #[test]
    fn few_are_kept_and_none_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let spares = Spares::new(folder.path());
        for _ in 0..MOST + 2 {
            given_up(folder.path(), &spares);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST);
        spares.close();
        given_up(folder.path(), &spares);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn name_that_cannot_be_removed_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let spares = Spares::new(folder.path());
        spares.close();
        // A folder: to remove it as a file fails also for root.
        let (stuck, inside) = (folder.path().join("stuck.so"), folder.path().join("stuck.so/inside"));
        fs::create_dir(&stuck).unwrap();
        fs::write(&inside, b"x").unwrap();
        assert!(spares.give_up(&stuck).is_err());
        given_up(folder.path(), &spares);
        assert!(stuck.exists(), "it still cannot be removed");
        fs::remove_file(&inside).unwrap();
        fs::remove_dir(&stuck).unwrap();
        fs::write(&stuck, b"x").unwrap();
        given_up(folder.path(), &spares);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            0,
            "with the next one it is removed"
        );

        fs::create_dir(&stuck).unwrap();
        assert!(spares.give_up(&stuck).is_err());
        fs::remove_dir(&stuck).unwrap();
        fs::write(&stuck, b"x").unwrap();
        spares.close();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "and at the end");
    }
}
