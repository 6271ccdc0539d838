//! The files of a history: a folder for each slot, and in it a file for each content. A file's name is the hash of its
//! bytes, so a file is never rewritten. The book says which files must exist.

use super::{
    book::Book,
    entry::Content,
    files::{self, NewFile, UNFINISHED},
    index::{self, UnreadResources},
};
use reslot_artifact::ContentHash;
use reslot_report::{HistoryError, StageError};
use reslot_stage::{HISTORY, StagingFolder};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

const LOCK: &str = ".lock";
const INDEX: &str = "index.json";
const ASIDE: &str = "index.json.broken";
const SUFFIX: &str = ".so";

/// The longest encoded slot name; the system allows file names of 255 bytes.
const LONGEST_NAME: usize = 200;

/// Where the files are.
#[derive(Debug)]
pub(super) enum Store {
    /// A history that survives the process and a power cut. It is locked as long as this value lives.
    Persistent { folder: PathBuf, lock: File, process: u32 },
    /// A history that is deleted with this value, but not by its copy in a forked child. It is in the host's private folder,
    /// and moves with it if that folder is removed and created elsewhere.
    OfProcess { process: u32, private: StagingFolder },
}

impl Store {
    /// Opens or creates the folder, and locks it for this host.
    pub(super) fn persistent(folder: &Path) -> Result<(Self, Book, Vec<HistoryError>), HistoryError> {
        make_durably(folder).map_err(HistoryError::io(folder, "make"))?;
        let path = folder.join(LOCK);
        let opened = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let lock = opened.map_err(HistoryError::io(&path, "open"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let folder = folder.to_path_buf();
                return Err(HistoryError::InUse { folder });
            }
            Err(TryLockError::Error(source)) => return Err(HistoryError::io(&path, "lock")(source)),
        }
        let store = Self::Persistent {
            folder: folder.to_path_buf(),
            lock,
            process: std::process::id(),
        };
        let mut problems = Vec::new();
        // A process that was killed may have renamed the index, or made a slot's folder, without a sync. What is read next must
        // be on the disk before files are removed because of it.
        if let Err(error) = files::sync_folder(folder) {
            let is_impossible = cannot_sync_folders(&error);
            let error = HistoryError::io(folder, "sync")(error);
            if !is_impossible {
                return Err(error);
            }
            problems.push(error);
        }
        let mut book = store.read_index(&mut problems)?;
        store.drop_missing(&mut book, &mut problems);
        // An index that was set aside may name files that a user still wants.
        let needed = (!folder.join(ASIDE).exists()).then(|| book.files());
        let swept = store.sweep(needed.as_ref());
        problems.extend(swept.err().map(HistoryError::io(folder, "clean up")));
        Ok((store, book, problems))
    }

    /// Creates no file before the first [`put`](Self::put).
    pub(super) fn of_process(private: StagingFolder) -> Self {
        Self::OfProcess {
            process: std::process::id(),
            private,
        }
    }

    pub(super) fn is_of_process(&self) -> bool {
        matches!(self, Self::OfProcess { .. })
    }

    /// Where the files are now.
    fn folder(&self) -> PathBuf {
        match self {
            Self::Persistent { folder, .. } => folder.clone(),
            Self::OfProcess { private, .. } => private.path().join(HISTORY),
        }
    }

    pub(super) fn path(&self, slot: &str, copy: &ContentHash) -> PathBuf {
        Self::path_in(&self.folder(), slot, copy)
    }

    /// The path of a file in a former private folder.
    pub(super) fn path_in_lost(private: &Path, slot: &str, copy: &ContentHash) -> PathBuf {
        Self::path_in(&private.join(HISTORY), slot, copy)
    }

    fn path_in(folder: &Path, slot: &str, copy: &ContentHash) -> PathBuf {
        folder.join(encoded(slot)).join(format!("{copy}{SUFFIX}"))
    }

    /// Creates the private folder again if it was removed or replaced. Called before each read or write.
    pub(super) fn see_that_it_is_ours(&self) -> Result<(), HistoryError> {
        let Self::OfProcess { private, .. } = self else {
            return Ok(());
        };
        private.renew().map_err(|refused| match refused {
            StageError::PrivateFolder { base, source, .. } => HistoryError::io(&base, "make a private folder in")(source),
            // This error's remedy names the user.
            other @ StageError::UserChanged { .. } => {
                HistoryError::io(private.path(), "use")(io::Error::new(ErrorKind::PermissionDenied, other))
            }
            other => HistoryError::io(private.path(), "make")(io::Error::other(other)),
        })
    }

    /// Stores `content`, unless it is stored already. A failure leaves no partial file.
    pub(super) fn put(&self, slot: &str, content: Content<'_>) -> Result<(), HistoryError> {
        self.see_that_it_is_ours()?;
        let path = self.path(slot, &content.hash);
        if read_file(&path).is_ok_and(|found| found == content.bytes) {
            return Ok(());
        }
        let folder = self.folder().join(encoded(slot));
        let put = self.put_new(&folder, &path, content);
        if put.is_err() {
            // This removes the folder only if it is empty.
            let _ = files::remove_folder(&folder);
        }
        put.map_err(HistoryError::io(&path, "write"))
    }

    fn put_new(&self, folder: &Path, path: &Path, content: Content<'_>) -> io::Result<()> {
        let link = || {
            // A link to a private copy in memory would break once that copy is closed. The copy below handles another file
            // system and an existing file with other bytes.
            let (Self::OfProcess { .. }, Some(from)) = (self, content.file) else {
                return false;
            };
            let is_file = fs::symlink_metadata(from).is_ok_and(|found| found.is_file());
            is_file && fs::hard_link(from, path).is_ok()
        };
        // Usually the folder exists.
        if link() {
            return Ok(());
        }
        let all = self.folder();
        if self.is_of_process() {
            // Does not create the parent: the code that locks a private folder creates it.
            files::make_folder(&all)?;
        }
        if files::make_folder(folder)? {
            self.sync(&all)?;
        }
        if link() {
            return Ok(());
        }
        self.replace(folder, path, content.bytes)
    }

    /// Writes the index. A history of this process has none.
    pub(super) fn write_index(&self, book: &Book) -> Result<(), HistoryError> {
        let Self::Persistent { folder, .. } = self else {
            return Ok(());
        };
        let path = folder.join(INDEX);
        let written = index::write(book).map_err(io::Error::from);
        let written = written.and_then(|bytes| self.replace(folder, &path, &bytes));
        written.map_err(HistoryError::io(&path, "write"))
    }

    /// Replaces the file at `path` so that a reader, now or after a power cut, finds either the complete old content or the
    /// complete new one.
    fn replace(&self, folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = NewFile::create(folder)?;
        file.write(bytes)?;
        if let Self::Persistent { .. } = self {
            file.sync()?;
        }
        file.rename(path)?;
        self.sync(folder)
    }

    fn sync(&self, folder: &Path) -> io::Result<()> {
        match self {
            // That folders cannot be synced there was reported when the history was opened.
            Self::Persistent { .. } => files::sync_folder(folder).or_else(|error| match cannot_sync_folders(&error) {
                true => Ok(()),
                false => Err(error),
            }),
            Self::OfProcess { .. } => Ok(()),
        }
    }

    pub(super) fn remove(&self, slot: &str, copy: &ContentHash) -> Result<(), HistoryError> {
        let path = self.path(slot, copy);
        let removed = match self {
            Self::OfProcess { private, .. } if private.is_there() => private.spares().give_up(&path),
            Self::OfProcess { .. } => return Ok(()),
            Self::Persistent { .. } => files::remove(&path),
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(HistoryError::io(&path, "remove")(error)),
            _ => {}
        }
        let _ = files::remove_folder(&self.folder().join(encoded(slot)));
        Ok(())
    }

    fn read_index(&self, problems: &mut Vec<HistoryError>) -> Result<Book, HistoryError> {
        let folder = self.folder();
        let path = folder.join(INDEX);
        let bytes = match read_file(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Book::default()),
            Err(error) => return Err(HistoryError::io(&path, "read")(error)),
        };
        match index::read(&bytes) {
            Ok(book) => Ok(book),
            Err(UnreadResources::Older(version)) => Err(HistoryError::Older {
                path,
                version,
                oldest: index::VERSION,
            }),
            Err(UnreadResources::Newer(version)) => Err(HistoryError::Newer {
                path,
                version,
                newest: index::VERSION,
            }),
            Err(UnreadResources::Broken(why)) => {
                let aside = folder.join(ASIDE);
                let moved = files::rename(&path, &aside).and_then(|()| self.sync(&folder));
                moved.map_err(HistoryError::io(&path, "put aside"))?;
                problems.push(HistoryError::Index { path, why, aside });
                Ok(Book::default())
            }
        }
    }

    fn drop_missing(&self, book: &mut Book, problems: &mut Vec<HistoryError>) {
        let mut missing = Vec::new();
        for (slot, entries) in book.slots() {
            for entry in entries.iter().filter(|entry| entry.is_kept()) {
                let file = self.path(slot, &entry.copy);
                match fs::symlink_metadata(&file) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        let slot = slot.clone();
                        missing.push((slot.clone(), entry.hash));
                        problems.push(HistoryError::Missing { slot, file });
                    }
                    Err(error) => problems.push(HistoryError::io(&file, "look at")(error)),
                }
            }
        }
        for (slot, hash) in missing {
            book.drop_entry(&slot, &hash);
        }
    }

    /// Removes files that an ended process left unfinished or did not remove in time. Files with foreign names stay. With
    /// `needed`, all other artifacts are removed.
    fn sweep(&self, needed: Option<&BTreeSet<(String, ContentHash)>>) -> io::Result<()> {
        let path = |(slot, copy): &(String, ContentHash)| self.path(slot, copy);
        let needed: Option<BTreeSet<PathBuf>> = needed.map(|needed| needed.iter().map(path).collect());
        for inside in fs::read_dir(self.folder())? {
            let inside = inside?;
            let name = inside.file_name();
            if inside.file_type()?.is_file() && name.as_bytes().starts_with(UNFINISHED.as_bytes()) {
                files::remove(&inside.path())?;
            }
            if !inside.file_type()?.is_dir() || !name.as_bytes().iter().all(|byte| *byte == b'%' || is_plain(*byte)) {
                continue;
            }
            for file in fs::read_dir(inside.path())? {
                let file = file?;
                let name = file.file_name();
                let unfinished = name.as_bytes().starts_with(UNFINISHED.as_bytes());
                let hash = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
                let superfluous = hash.is_some_and(|hash| hash.parse::<ContentHash>().is_ok())
                    && needed.as_ref().is_some_and(|needed| !needed.contains(&file.path()));
                if file.file_type()?.is_file() && (unfinished || superfluous) {
                    files::remove(&file.path())?;
                }
            }
            let _ = files::remove_folder(&inside.path());
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // In a forked child, the files still belong to the parent.
        match self {
            Self::OfProcess { process, private } if *process == std::process::id() && private.is_there() => {
                let _ = fs::remove_dir_all(private.path().join(HISTORY));
            }
            // A starting child process shares the descriptor until it executes its program; closing only our descriptor
            // would leave the lock with the child.
            Self::Persistent { lock, process, .. } if *process == std::process::id() => {
                let _ = lock.unlock();
            }
            _ => {}
        }
    }
}

/// Reads a regular file. It neither follows a link nor blocks on a pipe in its place.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates a folder and its parents so that they survive a power cut. Each name is synced before the next folder is made in
/// it. So where another process made a part, and perhaps was killed then, only the last name of that part can be missing on the
/// disk.
fn make_durably(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
    if let Some(last) = folder.ancestors().nth(missing.len()) {
        match sync_above(last) {
            // What was there already may be in a folder that this user cannot read, or that cannot be synced.
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported
                ) =>
            {
                return Err(error);
            }
            _ => {}
        }
    }
    for made in missing.iter().rev().filter(|made| !made.as_os_str().is_empty()) {
        files::make_folder(made)?;
        sync_above(made)?;
    }
    match folder.is_dir() {
        true => Ok(()),
        false => Err(ErrorKind::NotADirectory.into()),
    }
}

/// Some file systems have no way to sync a folder. A kept version may be lost there in a power cut.
fn cannot_sync_folders(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

fn sync_above(made: &Path) -> io::Result<()> {
    match made.parent() {
        Some(above) if above.as_os_str().is_empty() => files::sync_folder(Path::new(".")),
        Some(above) => files::sync_folder(above),
        None => Ok(()),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// A slot's name as a unique folder name: each special byte becomes `%` and two hexadecimal digits. The empty name and names
/// that are too long get special names that this encoding cannot produce; for a long name it contains a hash.
fn encoded(slot: &str) -> String {
    let each = |byte: u8| {
        if is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02x}")
        }
    };
    let name: String = slot.bytes().map(each).collect();
    if name.is_empty() {
        "%".to_owned()
    } else if name.len() > LONGEST_NAME {
        format!("%-{}", ContentHash::of(slot.as_bytes()))
    } else {
        name
    }
}
