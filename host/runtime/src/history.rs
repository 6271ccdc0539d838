//! The history: it keeps the last good artifacts of each slot by content, for rollbacks. It only records; other modules
//! decide about rollbacks, and load an artifact from the history in the same way as any other.
//!
//! A history is either in a folder that survives the process and a power cut, or exists for this process only.

mod book;
mod entry;
mod files;
mod index;
mod store;
#[cfg(test)]
mod tests;

use book::{Book, Entry};
pub(crate) use entry::{Artifact, Content, NewEntry};
pub use entry::{HistoryEntry, VersionStatus};
use reslot_artifact::ContentHash;
pub use reslot_report::HistoryError;
use reslot_stage::StagingFolder;
use reslot_sync::{Condvar, Mutex};
use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use store::Store;

/// The history of all slots.
#[derive(Debug)]
pub(crate) struct History {
    keep: usize,
    /// The versions that are linked into the program, which keeps them.
    linked: Vec<ContentHash>,
    store: Store,
    state: Mutex<State>,
    /// Signals that a pending entry has been stored.
    put: Condvar,
}

#[derive(Debug)]
struct State {
    book: Book,
    /// Entries that are listed but whose bytes are not stored yet; a reader waits for them.
    on_the_way: BTreeSet<(String, ContentHash)>,
    /// Unneeded files that the index still names, because the index could not be replaced.
    superfluous: BTreeSet<(String, ContentHash)>,
    /// Entries that were lost with a private folder, and were reported as lost.
    lost: BTreeSet<(String, ContentHash)>,
}

impl State {
    /// After a change of the book: marks the files that the slot needed `before` and does not need any more as superfluous.
    fn needs_no_more(&mut self, slot: &str, before: BTreeSet<(String, ContentHash)>) {
        self.superfluous.extend(before);
        let needed = self.book.files_of(slot);
        self.superfluous.retain(|file| file.0 != slot || !needed.contains(file));
    }
}

impl History {
    /// Opens the history in `folder`, or creates it. Returns also the defects that do not prevent its use: a broken index,
    /// missing files. `keep` is the number of good versions to keep besides the last one.
    ///
    /// # Errors
    /// If the folder is in use by another living host, was written by a later version, or cannot be made, locked or read.
    pub(crate) fn persistent(folder: &Path, keep: usize) -> Result<(Self, Vec<HistoryError>), HistoryError> {
        let (store, book, problems) = Store::persistent(folder)?;
        Ok((Self::new(store, book, keep), problems))
    }

    /// A history that ends with this value. Its folder in `private` is created for the first entry. Unneeded files become
    /// spares of `private`.
    pub(crate) fn of_process(private: StagingFolder, keep: usize) -> Self {
        Self::new(Store::of_process(private), Book::default(), keep)
    }

    /// The private folder with this history was lost. Removes the lost entries from the list, and returns them with their
    /// slots.
    pub(crate) fn was_lost(&self, private: &Path) -> Vec<(String, HistoryError)> {
        if !self.store.is_of_process() {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let mut lost = Vec::new();
        for (slot, entries) in state.book.slots() {
            for entry in entries.iter().filter(|entry| entry.is_kept()) {
                // A pending entry will be stored in the new folder, or is there already.
                let on_the_way = state.on_the_way.contains(&(slot.clone(), entry.hash));
                if !on_the_way && !self.store.path(slot, &entry.copy).exists() {
                    lost.push((slot.clone(), entry.hash, Store::path_in_lost(private, slot, &entry.copy)));
                }
            }
        }
        let mut errors = Vec::new();
        for (slot, hash, file) in lost {
            state.book.drop_entry(&slot, &hash);
            state.lost.insert((slot.clone(), hash));
            errors.push((slot.clone(), HistoryError::Missing { slot, file }));
        }
        errors
    }

    fn new(store: Store, book: Book, keep: usize) -> Self {
        let state = State {
            book,
            on_the_way: BTreeSet::new(),
            superfluous: BTreeSet::new(),
            lost: BTreeSet::new(),
        };
        Self {
            keep,
            linked: Vec::new(),
            store,
            state: Mutex::new(state),
            put: Condvar::new(),
        }
    }

    /// The same history for a program that has these versions linked. They are good without an entry.
    pub(crate) fn with_linked(self, linked: Vec<ContentHash>) -> Self {
        Self { linked, ..self }
    }

    /// Whether the bytes of a candidate may be stored ([`keep`](Self::keep)) after it is published. They may if the history
    /// ends with the process, because the next process does not need them.
    pub(crate) fn archives_in_background(&self) -> bool {
        self.keep > 0 && self.store.is_of_process()
    }

    /// Stores the bytes of a version that has begun, unless it was forgotten or marked as bad meanwhile. After `begins` with
    /// `later`, the caller must always call this.
    ///
    /// # Errors
    /// If they cannot be stored. Then the version is no longer listed.
    pub(crate) fn keep(&self, slot: &str, hash: &ContentHash, content: Content<'_>) -> Result<(), HistoryError> {
        let mut state = self.state.lock();
        state.on_the_way.remove(&(slot.to_owned(), *hash));
        self.put.notify_all();
        let listed = state
            .book
            .find(slot, hash)
            .is_some_and(|entry| entry.is_kept() && entry.copy == content.hash);
        if !listed {
            return Ok(());
        }
        let kept = self.store.put(slot, content);
        if kept.is_err() {
            // This also removes a partly written file.
            let _ = self.apply(&mut state, slot, |book| book.drop_entry(slot, hash));
        }
        kept
    }

    /// Before the swap: records the candidate as unconfirmed, as the newest entry. If the same content was confirmed before,
    /// it stays confirmed; if it was marked as bad, the mark is removed. Without an archive nothing is written. With `later`
    /// its bytes are not stored yet.
    ///
    /// # Errors
    /// If its bytes cannot be stored, or the index cannot be written. Then nothing has changed.
    pub(crate) fn begins(&self, new: &NewEntry<'_>, content: Content<'_>, later: bool) -> Result<(), HistoryError> {
        let entry = Entry {
            hash: new.hash,
            copy: content.hash,
            version: new.version.to_owned(),
            schema: new.schema,
            file: new.file.to_path_buf(),
            condition: VersionStatus::Unconfirmed,
            since: now(),
            bytes: content.bytes.len() as u64,
            serial: 0,
        };
        if self.keep == 0 {
            self.state.lock().book.begin_without_archive(new.slot, entry);
            return Ok(());
        }
        let file = (new.slot.to_owned(), entry.copy);

        let mut state = self.state.lock();
        if later {
            state.on_the_way.insert((new.slot.to_owned(), new.hash));
        } else {
            self.store
                .put(new.slot, content)
                .inspect_err(|_| self.discard_unneeded(&state, &file))?;
        }
        let settled = if self.store.is_of_process() {
            self.apply(&mut state, new.slot, |book| {
                book.begin(new.slot, entry, self.keep);
                true
            })
        } else {
            let mut next = state.book.clone();
            next.begin(new.slot, entry, self.keep);
            if let Err(error) = self.store.write_index(&next) {
                // It may have its name already, and only not be safe from a power cut.
                let _ = self.store.write_index(&state.book);
                self.discard_unneeded(&state, &file);
                return Err(error);
            }
            let before = std::mem::replace(&mut state.book, next).files_of(new.slot);
            self.settle(&mut state, new.slot, before, Ok(()))
        };
        if let Err(reason) = settled {
            tracing::warn!(slot = new.slot, %reason, "a superseded artifact stays in the history folder until the next start");
        }
        Ok(())
    }

    /// The swap did not happen: undoes [`begins`](Self::begins). An earlier entry of the same content is restored.
    pub(crate) fn forget(&self, slot: &str, hash: &ContentHash) {
        let forgotten = self.change(slot, |book| book.forget(slot, hash));
        if let Err(reason) = forgotten {
            tracing::warn!(slot, %hash, %reason, "a candidate that was not taken stays in the history");
        }
    }

    /// The version has passed its probation and is good. Of the earlier versions, `keep` good ones stay.
    ///
    /// # Errors
    /// If its bytes are not stored though they should be, if the index cannot be written, or if superfluous files cannot be
    /// removed. Then the version is good for this process, and perhaps not for the next.
    pub(crate) fn confirm(&self, slot: &str, hash: &ContentHash) -> Result<(), HistoryError> {
        let mut known = true;
        self.change(slot, |book| {
            known = book.confirm(slot, hash, self.keep, now());
            known
        })?;
        if known || self.keep == 0 || self.linked.contains(hash) {
            return Ok(());
        }
        let mut state = self.state.lock();
        match state.lost.remove(&(slot.to_owned(), *hash)) {
            true => Ok(()),
            false => Err(unknown(&state.book, slot, hash)),
        }
    }

    /// The version was rolled back: removes its bytes and records it as bad, even if its bytes were not stored.
    ///
    /// # Errors
    /// If the index cannot be written, or the bytes cannot be removed. Then the version is bad for this process, and perhaps
    /// not for the next.
    pub(crate) fn mark_bad(&self, slot: &str, hash: &ContentHash, why: &str) -> Result<(), HistoryError> {
        self.change(slot, |book| {
            book.mark_bad(slot, hash, why, now());
            true
        })
    }

    /// The same for this process only, without touching a file: for threads that must not wait for a disk. The caller must
    /// arrange a call of [`mark_bad`](Self::mark_bad) soon.
    pub(crate) fn mark_bad_in_memory(&self, slot: &str, hash: &ContentHash, why: &str) {
        let mut state = self.state.lock();
        // Superfluous files are removed once the index no longer names them.
        let before = state.book.files_of(slot);
        state.book.mark_bad(slot, hash, why, now());
        state.needs_no_more(slot, before);
    }

    /// The slots whose newest good version was published under this path.
    pub(crate) fn slots_from(&self, path: &Path) -> Vec<String> {
        let state = self.state.lock();
        let from = |entries: &[Entry]| entries.iter().rev().any(|entry| entry.is_kept() && entry.file == path);
        let slots = state.book.slots().filter(|(_, entries)| from(entries));
        slots.map(|(slot, _)| slot.clone()).collect()
    }

    /// The reason for its rollback, if it was rolled back.
    pub(crate) fn known_bad(&self, slot: &str, hash: &ContentHash) -> Option<String> {
        match &self.state.lock().book.find(slot, hash)?.condition {
            VersionStatus::KnownBad(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Removes the mark of a bad version, because a caller asked for the version by its hash.
    ///
    /// # Errors
    /// If the index cannot be written. Then the mark is removed for this process, and perhaps not for the next.
    pub(crate) fn unblock(&self, slot: &str, hash: &ContentHash) -> Result<(), HistoryError> {
        self.change(slot, |book| book.unblock(slot, hash))
    }

    /// The newest version that is not marked as bad, if it is unconfirmed: after a start, this is the version that the ended
    /// process had on probation.
    pub(crate) fn unconfirmed(&self, slot: &str) -> Option<ContentHash> {
        let state = self.state.lock();
        let newest = state.book.of(slot).iter().rev().find(|entry| entry.is_kept())?;
        (newest.condition == VersionStatus::Unconfirmed).then_some(newest.hash)
    }

    /// The known versions of a slot, newest first.
    pub(crate) fn entries(&self, slot: &str) -> Vec<HistoryEntry> {
        self.state.lock().book.of(slot).iter().rev().map(Entry::public).collect()
    }

    /// The slots with entries.
    pub(crate) fn slots(&self) -> Vec<String> {
        self.state.lock().book.slots().map(|(slot, _)| slot.clone()).collect()
    }

    /// Reads a stored artifact and verifies its bytes. Waits if they are not stored yet.
    ///
    /// # Errors
    /// If it is not in the history, or cannot be read. If its file is missing or has other bytes, its entry is removed as
    /// well.
    pub(crate) fn read(&self, slot: &str, hash: &ContentHash) -> Result<Artifact, HistoryError> {
        let mut state = self.state.lock();
        let wanted = (slot.to_owned(), *hash);
        while state.on_the_way.contains(&wanted) {
            self.put.wait(&mut state);
        }
        let entry = match state.book.find(slot, hash) {
            None => return Err(unknown(&state.book, slot, hash)),
            Some(entry) => entry.clone(),
        };
        if let VersionStatus::KnownBad(why) = entry.condition {
            return Err(HistoryError::KnownBad {
                slot: slot.to_owned(),
                hash: *hash,
                why,
            });
        }
        self.store.see_that_it_is_ours()?;
        let file = self.store.path(slot, &entry.copy);
        let lost = match store::read_file(&file) {
            Ok(bytes) => {
                let found = ContentHash::of(&bytes);
                if found == entry.copy {
                    return Ok(Artifact {
                        bytes,
                        copy: found,
                        file: entry.file,
                        version: entry.version,
                        schema: entry.schema,
                    });
                }
                HistoryError::Changed {
                    slot: slot.to_owned(),
                    file,
                    expected: entry.copy,
                    found,
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => HistoryError::Missing {
                slot: slot.to_owned(),
                file,
            },
            Err(error) => return Err(HistoryError::io(&file, "read")(error)),
        };
        if let Err(reason) = self.apply(&mut state, slot, |book| book.drop_entry(slot, hash)) {
            tracing::warn!(slot, %hash, %reason, "the history's index still names an artifact that is lost");
        }
        Err(lost)
    }

    /// The newest good version that is older than `than` (or of all, without `than`) and whose bytes verify. With `any`, and
    /// without such a version, the newest one that is not marked as bad. Returns also why other versions were skipped.
    pub(crate) fn good_before(
        &self,
        slot: &str,
        than: Option<&ContentHash>,
        any: bool,
    ) -> (Option<(ContentHash, Artifact)>, Vec<HistoryError>) {
        let older: Vec<ContentHash> = {
            let state = self.state.lock();
            let entries = state.book.of(slot);
            let end = than.and_then(|than| entries.iter().position(|entry| entry.hash == *than));
            let older = || entries[..end.unwrap_or(entries.len())].iter().rev();
            let of = |condition: VersionStatus| older().filter(move |entry| entry.condition == condition);
            let untried = of(VersionStatus::Unconfirmed).filter(|_| any);
            let good = of(VersionStatus::Confirmed).chain(untried);
            good.map(|entry| entry.hash).collect()
        };
        let mut passed_over = Vec::new();
        for hash in older {
            match self.read(slot, &hash) {
                Ok(artifact) => return (Some((hash, artifact)), passed_over),
                Err(error) => passed_over.push(error),
            }
        }
        (None, passed_over)
    }

    /// Applies a change of one slot that holds even if it cannot be written to the index. `change` returns whether it
    /// changed anything.
    fn change(&self, slot: &str, change: impl FnOnce(&mut Book) -> bool) -> Result<(), HistoryError> {
        self.apply(&mut self.state.lock(), slot, change)
    }

    fn apply(&self, state: &mut State, slot: &str, change: impl FnOnce(&mut Book) -> bool) -> Result<(), HistoryError> {
        if self.store.is_of_process() {
            // This history has no index to write, so nothing can fail, and the other slots need not be copied.
            let before = state.book.files_of(slot);
            change(&mut state.book);
            return self.settle(state, slot, before, Ok(()));
        }
        let mut next = state.book.clone();
        if !change(&mut next) {
            // Fields that exist only in this process may have changed.
            state.book = next;
            return Ok(());
        }
        let written = self.store.write_index(&next);
        let before = std::mem::replace(&mut state.book, next).files_of(slot);
        self.settle(state, slot, before, written)
    }

    /// Removes the files that the slot needed `before` and does not need any more, but only after an index without them is
    /// written.
    fn settle(
        &self,
        state: &mut State,
        slot: &str,
        before: BTreeSet<(String, ContentHash)>,
        written: Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        state.needs_no_more(slot, before);
        written?;
        let mut removed = Ok(());
        for (slot, copy) in std::mem::take(&mut state.superfluous) {
            if let Err(error) = self.store.remove(&slot, &copy) {
                // It is tried again with the next change.
                state.superfluous.insert((slot, copy));
                removed = removed.and(Err(error));
            }
        }
        removed
    }

    /// Removes a file that no entry needs.
    fn discard_unneeded(&self, state: &State, file: &(String, ContentHash)) {
        if !state.book.files_of(&file.0).contains(file) && !state.superfluous.contains(file) {
            let _ = self.store.remove(&file.0, &file.1);
        }
    }
}

/// A version in a history's folder, with its slot, and its bytes if they are whole.
#[doc(hidden)]
pub type FoundVersion = (String, HistoryEntry, Result<Vec<u8>, HistoryError>);

/// Opens the history in a folder as a host does, and reads every version in it. Returns also the defects that opening found.
///
/// # Errors
/// As [`History::persistent`].
#[doc(hidden)]
pub fn read_folder(folder: &Path, keep: usize) -> Result<(Vec<FoundVersion>, Vec<HistoryError>), HistoryError> {
    let (history, problems) = History::persistent(folder, keep)?;
    let mut found = Vec::new();
    for slot in history.slots() {
        for entry in history.entries(&slot) {
            let bytes = history.read(&slot, &entry.hash).map(|artifact| artifact.bytes);
            found.push((slot.clone(), entry, bytes));
        }
    }
    Ok((found, problems))
}

fn unknown(book: &Book, slot: &str, hash: &ContentHash) -> HistoryError {
    let kept = book.of(slot).iter().rev().filter(|entry| entry.is_kept());
    HistoryError::Unknown {
        slot: slot.to_owned(),
        hash: *hash,
        known: kept.map(|entry| entry.hash).collect(),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
