//! The changes of a history's folder, one function for each step that a power cut can separate from the next. What a test
//! records here is what happens on a disk, in this order (`tests/power.rs`).

#[cfg(test)]
pub(super) use recorded::{Step, record};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
};
use tempfile::NamedTempFile;

/// A build for exploration kills the process between any two of these steps.
fn step() {
    #[cfg(reslot_explore)]
    reslot_sync::thread::yield_now();
}

/// The prefix of unfinished files.
pub(super) const UNFINISHED: &str = ".reslot-new-";

/// A file that is not complete yet. It is removed with this value.
pub(super) struct NewFile(NamedTempFile);

impl NewFile {
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        step();
        let mut named = tempfile::Builder::new();
        named
            .prefix(UNFINISHED)
            .rand_bytes(12)
            .permissions(Permissions::from_mode(0o600));
        let file = named.tempfile_in(folder)?;
        #[cfg(test)]
        recorded::add(|| Step::Create(file.path().to_owned()));
        Ok(Self(file))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        step();
        self.0.as_file_mut().write_all(bytes)?;
        #[cfg(test)]
        recorded::add(|| Step::Write(self.0.path().to_owned(), bytes.to_owned()));
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        step();
        self.0.as_file().sync_all()?;
        #[cfg(test)]
        recorded::add(|| Step::SyncFile(self.0.path().to_owned()));
        Ok(())
    }

    /// Gives it its name, in place of a file that has this name.
    pub(super) fn rename(self, to: &Path) -> io::Result<()> {
        step();
        #[cfg(test)]
        let from = self.0.path().to_owned();
        self.0.persist(to).map_err(|kept| kept.error)?;
        #[cfg(test)]
        recorded::add(|| Step::Rename(from, to.to_owned()));
        Ok(())
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step();
    fs::rename(from, to)?;
    #[cfg(test)]
    recorded::add(|| Step::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

pub(super) fn remove(file: &Path) -> io::Result<()> {
    step();
    fs::remove_file(file)?;
    #[cfg(test)]
    recorded::add(|| Step::Remove(file.to_owned()));
    Ok(())
}

/// Makes the names in a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    step();
    File::open(folder)?.sync_all()?;
    #[cfg(test)]
    recorded::add(|| Step::SyncFolder(folder.to_owned()));
    Ok(())
}

/// Makes a folder that only its owner may enter, because files in it become code. Returns whether it was missing.
pub(super) fn make_folder(folder: &Path) -> io::Result<bool> {
    step();
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    #[cfg(test)]
    recorded::add(|| Step::MakeFolder(folder.to_owned()));
    Ok(true)
}

/// Removes a folder if it is empty.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    step();
    fs::remove_dir(folder)?;
    #[cfg(test)]
    recorded::add(|| Step::RemoveFolder(folder.to_owned()));
    Ok(())
}

#[cfg(test)]
mod recorded {
    use std::{cell::RefCell, path::PathBuf};

    /// A change that was made.
    #[derive(Debug, Clone, PartialEq)]
    pub(in crate::history) enum Step {
        MakeFolder(PathBuf),
        RemoveFolder(PathBuf),
        Create(PathBuf),
        Write(PathBuf, Vec<u8>),
        SyncFile(PathBuf),
        Rename(PathBuf, PathBuf),
        Remove(PathBuf),
        SyncFolder(PathBuf),
    }

    thread_local! {
        static STEPS: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
    }

    /// Runs `body`, and returns the steps of this thread meanwhile.
    pub(in crate::history) fn record<R>(body: impl FnOnce() -> R) -> (R, Vec<Step>) {
        STEPS.set(Some(Vec::new()));
        let answer = body();
        (answer, STEPS.take().unwrap_or_default())
    }

    pub(super) fn add(step: impl FnOnce() -> Step) {
        STEPS.with_borrow_mut(|steps| {
            if let Some(steps) = steps {
                steps.push(step());
            }
        });
    }
}
