//! The history's entries as a value: the ordered entries of each slot, and the changes to them. This module touches no file;
//! comparing the value before and after a change shows which files became superfluous.

use super::entry::{HistoryEntry, VersionStatus};
use reslot_artifact::ContentHash;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

/// The most artifacts of a slot that are remembered as bad.
pub(super) const MOST_KNOWN_BAD: usize = 64;

/// The limit of a reason's length, because reasons may contain backtraces and may be many.
const LONGEST_REASON: usize = 2048;

/// One artifact of one slot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// The hash of the artifact as it was read.
    pub hash: ContentHash,
    /// The hash of the stored bytes.
    pub copy: ContentHash,
    pub version: String,
    pub schema: Option<u32>,
    pub file: PathBuf,
    pub condition: VersionStatus,
    /// Milliseconds since 1970.
    pub since: u64,
    pub bytes: u64,
    /// The position in the order of entries. A restored entry gets its former position back.
    pub serial: u64,
}

/// The most unsettled beginnings of a slot that are remembered. If this limit drops one, its version stays listed as
/// unconfirmed until the next version is confirmed.
const MOST_BEGUN: usize = 8;

/// An unsettled beginning: a version that was begun, and is not yet forgotten, confirmed, marked as bad, or older than a
/// confirmed one.
#[derive(Debug, Clone)]
struct Begun {
    entry: Entry,
    /// The earlier entry of the same content.
    former: Option<Entry>,
}

/// All slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    /// Oldest first.
    slots: BTreeMap<String, Vec<Entry>>,
    /// Oldest first, each content once. A slot has several if candidates come faster than they are settled.
    begun: BTreeMap<String, Vec<Begun>>,
    serial: u64,
}

impl Entry {
    pub(super) fn is_kept(&self) -> bool {
        !matches!(self.condition, VersionStatus::KnownBad(_))
    }

    pub(super) fn public(&self) -> HistoryEntry {
        HistoryEntry {
            hash: self.hash,
            version: self.version.clone(),
            schema: self.schema,
            file: self.file.clone(),
            condition: self.condition.clone(),
            since: UNIX_EPOCH + Duration::from_millis(self.since),
            bytes: self.bytes,
        }
    }
}

impl Book {
    pub(super) fn slots(&self) -> impl Iterator<Item = (&String, &Vec<Entry>)> {
        self.slots.iter().filter(|(_, entries)| !entries.is_empty())
    }

    /// Oldest first.
    pub(super) fn of(&self, slot: &str) -> &[Entry] {
        self.slots.get(slot).map_or(&[], Vec::as_slice)
    }

    pub(super) fn find(&self, slot: &str, hash: &ContentHash) -> Option<&Entry> {
        self.of(slot).iter().find(|entry| entry.hash == *hash)
    }

    /// The files that must exist.
    pub(super) fn files(&self) -> BTreeSet<(String, ContentHash)> {
        let slots: BTreeSet<&String> = self.slots.keys().chain(self.begun.keys()).collect();
        slots.into_iter().flat_map(|slot| self.files_of(slot)).collect()
    }

    /// The files of one slot, including those of the entries that `forget` would restore.
    pub(super) fn files_of(&self, slot: &str) -> BTreeSet<(String, ContentHash)> {
        let begun = self.begun.get(slot).map_or(&[][..], Vec::as_slice);
        let former = begun.iter().filter_map(|begun| begun.former.as_ref());
        let kept = self.of(slot).iter().chain(former).filter(|entry| entry.is_kept());
        kept.map(|entry| (slot.to_owned(), entry.copy)).collect()
    }

    /// Makes an entry the newest, and replaces an earlier entry of the same content.
    pub(super) fn put(&mut self, slot: &str, mut entry: Entry) {
        self.drop_entry(slot, &entry.hash);
        self.serial += 1;
        entry.serial = self.serial;
        self.slots.entry(slot.to_owned()).or_default().push(entry);
    }

    pub(super) fn begin(&mut self, slot: &str, mut entry: Entry, keep: usize) {
        let former = self.find(slot, &entry.hash).cloned();
        if let Some(former) = former.as_ref().filter(|former| former.is_kept()) {
            entry.condition = former.condition.clone();
            entry.since = former.since;
        }
        self.put(slot, entry.clone());
        entry.serial = self.serial;
        self.note_begun(slot, Begun { entry, former });
        // Frequent publishing without a passed probation must not fill the disk.
        let (mut unconfirmed, most) = (0, keep.saturating_add(2));
        self.retain_newest(slot, |entry| {
            unconfirmed += usize::from(entry.condition == VersionStatus::Unconfirmed);
            entry.condition != VersionStatus::Unconfirmed || unconfirmed <= most
        });
        let listed: BTreeSet<ContentHash> = self.of(slot).iter().map(|entry| entry.hash).collect();
        if let Some(begun) = self.begun.get_mut(slot) {
            begun.retain(|begun| listed.contains(&begun.entry.hash));
        }
    }

    /// Stores no entry; if the version is marked as bad later, its version number is known.
    pub(super) fn begin_without_archive(&mut self, slot: &str, entry: Entry) {
        self.note_begun(slot, Begun { entry, former: None });
    }

    fn note_begun(&mut self, slot: &str, new: Begun) {
        self.settle(slot, &new.entry.hash);
        let begun = self.begun.entry(slot.to_owned()).or_default();
        begun.push(new);
        if begun.len() > MOST_BEGUN {
            begun.remove(0);
        }
    }

    /// Undoes the beginning of this content. Returns whether the entries have changed.
    pub(super) fn forget(&mut self, slot: &str, hash: &ContentHash) -> bool {
        let Some(begun) = self.settle(slot, hash) else { return false };
        let dropped = self.drop_entry(slot, hash);
        let restored = begun.former.is_some();
        if let Some(former) = begun.former {
            let entries = self.slots.entry(slot.to_owned()).or_default();
            let at = entries.partition_point(|entry| entry.serial < former.serial);
            entries.insert(at, former);
        }
        dropped || restored
    }

    /// Returns whether such an entry exists.
    pub(super) fn confirm(&mut self, slot: &str, hash: &ContentHash, keep: usize, now: u64) -> bool {
        let entries = self.slots.get_mut(slot);
        let found = entries.and_then(|entries| entries.iter_mut().find(|entry| entry.hash == *hash && entry.is_kept()));
        let Some(entry) = found else {
            self.settle(slot, hash);
            return false;
        };
        if entry.condition != VersionStatus::Confirmed {
            (entry.condition, entry.since) = (VersionStatus::Confirmed, now);
        }
        let serving = entry.serial;
        self.settle(slot, hash);
        if let Some(begun) = self.begun.get_mut(slot) {
            begun.retain(|begun| begun.entry.serial > serving);
        }
        let mut earlier = 0;
        self.retain_newest(slot, |entry| {
            let superseded = entry.serial < serving;
            earlier += usize::from(superseded && entry.condition == VersionStatus::Confirmed);
            match entry.condition {
                VersionStatus::Unconfirmed => !superseded,
                VersionStatus::Confirmed => !superseded || earlier <= keep,
                VersionStatus::KnownBad(_) => true,
            }
        });
        true
    }

    pub(super) fn mark_bad(&mut self, slot: &str, hash: &ContentHash, why: &str, now: u64) {
        let begun = self.settle(slot, hash);
        if self.find(slot, hash).is_none() {
            let unknown = || Entry {
                hash: *hash,
                copy: *hash,
                version: String::new(),
                schema: None,
                file: PathBuf::new(),
                condition: VersionStatus::Unconfirmed,
                since: now,
                bytes: 0,
                serial: 0,
            };
            self.put(slot, begun.map_or_else(unknown, |begun| begun.entry));
        }
        let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
        let entries = self.slots.get_mut(slot).into_iter().flatten();
        // The entry keeps its position, so that older entries stay older.
        for entry in entries.filter(|entry| entry.hash == *hash) {
            (entry.condition, entry.since, entry.bytes) = (VersionStatus::KnownBad(why.to_owned()), now, 0);
        }
        let mut others = 0;
        self.retain_newest(slot, |entry| {
            let other = !entry.is_kept() && entry.hash != *hash;
            others += usize::from(other);
            !other || others < MOST_KNOWN_BAD
        });
    }

    pub(super) fn unblock(&mut self, slot: &str, hash: &ContentHash) -> bool {
        let known_bad = self.find(slot, hash).is_some_and(|entry| !entry.is_kept());
        known_bad && self.drop_entry(slot, hash)
    }

    /// Returns whether the entry existed.
    pub(super) fn drop_entry(&mut self, slot: &str, hash: &ContentHash) -> bool {
        let before = self.of(slot).len();
        self.retain_newest(slot, |entry| entry.hash != *hash);
        self.of(slot).len() != before
    }

    fn settle(&mut self, slot: &str, hash: &ContentHash) -> Option<Begun> {
        let begun = self.begun.get_mut(slot)?;
        let at = begun.iter().position(|begun| begun.entry.hash == *hash)?;
        let settled = begun.remove(at);
        if begun.is_empty() {
            self.begun.remove(slot);
        }
        Some(settled)
    }

    /// Visits the entries from the newest to the oldest.
    fn retain_newest(&mut self, slot: &str, mut stays: impl FnMut(&Entry) -> bool) {
        if let Some(entries) = self.slots.get_mut(slot) {
            entries.reverse();
            entries.retain(|entry| stays(entry));
            entries.reverse();
        }
    }
}
