//! The last good artifacts of each slot, kept by content, so that a slot can go back to one. What is told to this room is written
//! down; when to go back, and to which, is decided elsewhere, and what comes out of here goes the way of every artifact.
//!
//! There are two kinds: one in a folder that survives the process, and a power cut at any moment; and one for this process only.

mod book;
mod entry;
mod index;
mod store;
#[cfg(test)]
mod tests;

use book::{Book, Entry};
pub(crate) use entry::{Artifact, Content, NewEntry};
pub use entry::{HistoryEntry, VersionStatus};
use parking_lot::{Condvar, Mutex};
use reslot_artifact::ContentHash;
pub use reslot_report::HistoryError;
use reslot_stage::StagingFolder;
use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use store::Store;

/// What is kept of all slots.
#[derive(Debug)]
pub(crate) struct History {
    keep: usize,
    store: Store,
    state: Mutex<State>,
    /// Something that was on its way has been put away.
    put: Condvar,
}

#[derive(Debug)]
struct State {
    book: Book,
    /// What is listed, and whose bytes are on their way: who wants them waits.
    on_the_way: BTreeSet<(String, ContentHash)>,
    /// Files that nobody needs, but that an index names which could not be replaced.
    superfluous: BTreeSet<(String, ContentHash)>,
    /// What went with a private folder, and was told as gone.
    lost: BTreeSet<(String, ContentHash)>,
}

impl State {
    /// The book has changed: of the files that a slot needed `before`, those are superfluous that it needs no more.
    fn needs_no_more(&mut self, slot: &str, before: BTreeSet<(String, ContentHash)>) {
        self.superfluous.extend(before);
        let needed = self.book.files_of(slot);
        self.superfluous.retain(|file| file.0 != slot || !needed.contains(file));
    }
}

impl History {
    /// Opens the history in `folder`, or starts one. Answers also what is wrong with it and kept it from nothing: a broken index,
    /// files that are gone. `keep` is how many good versions besides the last one stay.
    ///
    /// # Errors
    /// If the folder is in use by another living host, was written by a later version, or cannot be made, locked or read.
    pub(crate) fn persistent(folder: &Path, keep: usize) -> Result<(Self, Vec<HistoryError>), HistoryError> {
        let (store, book, problems) = Store::persistent(folder)?;
        Ok((Self::new(store, book, keep), problems))
    }

    /// A history that ends with this value, in a folder in `private` that is made when first something is kept.
    /// Files that are not needed any more go to the spares of `private`.
    pub(crate) fn of_process(private: StagingFolder, keep: usize) -> Self {
        Self::new(Store::of_process(private), Book::default(), keep)
    }

    /// The private folder in which this history lay was lost. What was kept there is no longer listed; answers what that is, with its
    /// slot.
    pub(crate) fn was_lost(&self, private: &Path) -> Vec<(String, HistoryError)> {
        if !self.store.is_of_process() {
            return Vec::new();
        }
        let mut state = self.state.lock();
        let mut lost = Vec::new();
        for (slot, entries) in state.book.slots() {
            for entry in entries.iter().filter(|entry| entry.is_kept()) {
                // What is on its way will be put into the new folder, or is there already.
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
            store,
            state: Mutex::new(state),
            put: Condvar::new(),
        }
    }

    /// Whether the bytes of what begins may be put away ([`keep`](Self::keep)) after it has come to serve: what ends with the process
    /// is not missed by the next one.
    pub(crate) fn archives_in_background(&self) -> bool {
        self.keep > 0 && self.store.is_of_process()
    }

    /// Puts the bytes away of what has begun, unless it was forgotten or marked as bad meanwhile. Whoever has it begin `later` has to call this,
    /// whatever happens.
    ///
    /// # Errors
    /// If they cannot be kept. Then it is no longer listed.
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
            // What there is of them goes, too.
            let _ = self.apply(&mut state, slot, |book| book.drop_entry(slot, hash));
        }
        kept
    }

    /// Before the swap: writes the candidate down as unconfirmed, at the newest place. The same content that was confirmed before
    /// stays confirmed; if it was marked as bad, it is no more. If nothing is to be kept, nothing is written. With `later` its bytes are
    /// not put away yet.
    ///
    /// # Errors
    /// If its bytes cannot be kept, or the index cannot be written. Then all is as it was.
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
            self.store.put(new.slot, content)?;
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
                if !state.book.files_of(new.slot).contains(&file) && !state.superfluous.contains(&file) {
                    let _ = self.store.remove(&file.0, &file.1);
                }
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

    /// The swap did not happen after all: takes back what [`begins`](Self::begins) wrote. The same content that was known before
    /// is again what it was.
    pub(crate) fn forget(&self, slot: &str, hash: &ContentHash) {
        let forgotten = self.change(slot, |book| book.forget(slot, hash));
        if let Err(reason) = forgotten {
            tracing::warn!(slot, %hash, %reason, "a candidate that was not taken stays in the history");
        }
    }

    /// Its probation is passed: it is good. Of those that were tried before it, `keep` good ones stay.
    ///
    /// # Errors
    /// If it is not kept, though something is to be; if the index cannot be written, or what is superfluous not removed: then
    /// it is good for this process, and perhaps not for the next.
    pub(crate) fn confirm(&self, slot: &str, hash: &ContentHash) -> Result<(), HistoryError> {
        let mut known = true;
        self.change(slot, |book| {
            known = book.confirm(slot, hash, self.keep, now());
            known
        })?;
        if known || self.keep == 0 {
            return Ok(());
        }
        let mut state = self.state.lock();
        match state.lost.remove(&(slot.to_owned(), *hash)) {
            true => Ok(()),
            false => Err(unknown(&state.book, slot, hash)),
        }
    }

    /// It was rolled back: its bytes go, and that it is bad is remembered, also of one that is not kept.
    ///
    /// # Errors
    /// If the index cannot be written, or the bytes not removed: then it is bad for this process, and perhaps not for the next.
    pub(crate) fn mark_bad(&self, slot: &str, hash: &ContentHash, why: &str) -> Result<(), HistoryError> {
        self.change(slot, |book| {
            book.mark_bad(slot, hash, why, now());
            true
        })
    }

    /// The same for this process, at once and without touching a file: for threads that must not wait for a disk. Whoever calls
    /// this has [`mark_bad`](Self::mark_bad) called soon.
    pub(crate) fn mark_bad_in_memory(&self, slot: &str, hash: &ContentHash, why: &str) {
        let mut state = self.state.lock();
        // What is superfluous now goes when the index no longer names it.
        let before = state.book.files_of(slot);
        state.book.mark_bad(slot, hash, why, now());
        state.needs_no_more(slot, before);
    }

    /// The slots that were last served by what was published under this path, as far as it was good.
    pub(crate) fn slots_from(&self, path: &Path) -> Vec<String> {
        let state = self.state.lock();
        let from = |entries: &[Entry]| entries.iter().rev().any(|entry| entry.is_kept() && entry.file == path);
        let slots = state.book.slots().filter(|(_, entries)| from(entries));
        slots.map(|(slot, _)| slot.clone()).collect()
    }

    /// Why it was rolled back, if it was.
    pub(crate) fn known_bad(&self, slot: &str, hash: &ContentHash) -> Option<String> {
        match &self.state.lock().book.find(slot, hash)?.condition {
            VersionStatus::KnownBad(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// Somebody asked for it by name: that it was bad is no longer remembered.
    ///
    /// # Errors
    /// If the index cannot be written: then it is pardoned for this process, and perhaps not for the next.
    pub(crate) fn unblock(&self, slot: &str, hash: &ContentHash) -> Result<(), HistoryError> {
        self.change(slot, |book| book.unblock(slot, hash))
    }

    /// The newest one that was not marked as bad, if it never was confirmed: after a start, what an ended process was trying.
    pub(crate) fn unconfirmed(&self, slot: &str) -> Option<ContentHash> {
        let state = self.state.lock();
        let newest = state.book.of(slot).iter().rev().find(|entry| entry.is_kept())?;
        (newest.condition == VersionStatus::Unconfirmed).then_some(newest.hash)
    }

    /// What is known of a slot's versions, newest first.
    pub(crate) fn entries(&self, slot: &str) -> Vec<HistoryEntry> {
        self.state.lock().book.of(slot).iter().rev().map(Entry::told).collect()
    }

    /// The slots of which something is known.
    pub(crate) fn slots(&self) -> Vec<String> {
        self.state.lock().book.slots().map(|(slot, _)| slot.clone()).collect()
    }

    /// Reads a kept artifact and verifies that its bytes are those that were kept. Waits for those that are on their way.
    ///
    /// # Errors
    /// If it is not kept; if its file is gone or has other bytes, and then it is no longer listed; if it cannot be read.
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

    /// The newest good one that is older than `than`, or the newest of all, whose bytes verify; with `any`, if there is none, the newest
    /// one of which nothing bad is known. Answers also why others were passed over.
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

    /// Applies a change of one slot that is true whether it can be written down or not. `change` answers whether it changed anything.
    fn change(&self, slot: &str, change: impl FnOnce(&mut Book) -> bool) -> Result<(), HistoryError> {
        self.apply(&mut self.state.lock(), slot, change)
    }

    fn apply(&self, state: &mut State, slot: &str, change: impl FnOnce(&mut Book) -> bool) -> Result<(), HistoryError> {
        if self.store.is_of_process() {
            // Nothing is written down, so nothing can fail: the other slots need not be copied.
            let before = state.book.files_of(slot);
            change(&mut state.book);
            return self.settle(state, slot, before, Ok(()));
        }
        let mut next = state.book.clone();
        if !change(&mut next) {
            // What is only of this process may have changed all the same.
            state.book = next;
            return Ok(());
        }
        let written = self.store.write_index(&next);
        let before = std::mem::replace(&mut state.book, next).files_of(slot);
        self.settle(state, slot, before, written)
    }

    /// Of the files that a slot needed `before`, those go that it needs no more: after the index that no longer names them is written,
    /// and not before.
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
            removed = removed.and(self.store.remove(&slot, &copy));
        }
        removed
    }
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
