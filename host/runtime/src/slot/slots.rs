//! The slots of one host, the view by which they are called, and who holds that. This is all that readers, handles and other plugins
//! need of a host, so it lives as long as the last of them.

use super::{
    hold_records::Holds,
    interfaces::Interfaces,
    record::{ContentPlace, Mode, SlotRecord},
    refusals::Refusals,
    view::{InView, View},
};
use crate::{
    instances::{Instances, LoadRequest},
    safe_points::AskedForSafePoints,
    watch::scan,
};
use reslot_artifact::ContentHash;
use reslot_report::{SlotError, WatchedFolder};
use reslot_sync::{
    ArcSwap, Mutex, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use reslot_system::Process;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// For each slot the slots that its plugin declares in `uses`.
pub(crate) type UseGraph = BTreeMap<Arc<str>, Vec<String>>;

/// The slots of one host.
pub(crate) struct Slots {
    /// Where the host was built. In a forked child of it nothing here may be locked, waited for or dropped.
    pub(crate) process: Process,
    /// The folder that the host watches.
    folder: Option<PathBuf>,
    /// Which artifact is for which slots.
    instances: Instances,
    /// The interfaces that the program knows as types.
    pub(crate) interfaces: Arc<Interfaces>,
    view: Arc<ArcSwap<View>>,
    /// Raised after a view was stored, and when readers are to look again for another reason.
    refresh_number: AtomicU64,
    /// What a reader that has let go holds instead of a view.
    no_view: Arc<View>,
    publishing: Mutex<()>,
    /// In one `Arc`, because most callers go through all of them without the lock.
    records: RwLock<Arc<Vec<Arc<SlotRecord>>>>,
    /// Readers, and tracked guards.
    pub(crate) holds: Holds,
    pub(crate) refusals: Refusals,
    /// The host is being dropped.
    ending: AtomicBool,
}

impl Slots {
    pub(crate) fn new(
        process: Process,
        folder: Option<PathBuf>,
        instances: Instances,
        interfaces: Interfaces,
        track_guards: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            process,
            folder,
            instances,
            interfaces: Arc::new(interfaces),
            view: Arc::new(ArcSwap::from_pointee(View::empty())),
            refresh_number: AtomicU64::new(1),
            no_view: Arc::new(View::empty()),
            publishing: Mutex::new(()),
            records: RwLock::default(),
            holds: Holds::new(process, track_guards),
            refusals: Refusals::default(),
            ending: AtomicBool::new(false),
        })
    }

    /// The folder that the host watches.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Which artifact is for which slots.
    pub(crate) fn instances(&self) -> &Instances {
        &self.instances
    }

    pub(crate) fn all(&self) -> Arc<Vec<Arc<SlotRecord>>> {
        self.records.read().clone()
    }

    /// The slot of this name, if there is one.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<SlotRecord>> {
        self.records.read().iter().find(|record| &*record.name == name).cloned()
    }

    /// The slot of this name, made if there is none yet.
    pub(crate) fn named_or_new(&self, name: &str) -> Arc<SlotRecord> {
        let mut records = self.records.write();
        if let Some(known) = records.iter().find(|record| &*record.name == name) {
            return known.clone();
        }
        let record = Arc::new(SlotRecord::new(name, records.len(), self.interfaces.clone()));
        Arc::make_mut(&mut records).push(record.clone());
        record
    }

    /// The slot of this name, if something serves in it.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(crate) fn serving(&self, name: &str) -> Result<Arc<SlotRecord>, SlotError> {
        if self.process.is_another() {
            return Err(self.why_not(name));
        }
        self.named(name)
            .filter(|record| record.lock().current.is_some())
            .ok_or_else(|| self.why_not(name))
    }

    /// Why there is nothing to be had under this name. Not to be called with the slot's lock held.
    pub(crate) fn why_not(&self, name: &str) -> SlotError {
        if self.process.is_another() {
            return SlotError::ForkedProcess { name: name.to_owned() };
        }
        let empty = self.named(name).and_then(|record| record.lock().why_empty(name));
        if let Some(why) = empty {
            return why;
        }
        if self.is_ending() {
            return SlotError::HostEnded { name: name.to_owned() };
        }
        let records = self.all();
        let known = records.iter().filter(|record| record.lock().current.is_some());
        SlotError::Unknown {
            name: name.to_owned(),
            known: known.map(|record| record.name.to_string()).collect(),
            refusals: self.refusals.those(|refusal| match refusal.slot.as_deref() {
                Some(slot) => slot == name,
                // A refused file without a readable manifest may have been for this slot, unless the file serves some slot by now.
                None => self.served_from(&refusal.path).is_empty(),
            }),
            folder: self.watched_folder(),
        }
    }

    /// What is in the watched folder now, for somebody who misses a slot.
    pub(crate) fn watched_folder(&self) -> WatchedFolder {
        match self.folder.clone() {
            None => WatchedFolder::NotWatched,
            Some(path) if !path.is_dir() => WatchedFolder::Missing { path },
            Some(path) => WatchedFolder::Found {
                artifacts: scan(&path).into(),
                path,
            },
        }
    }

    /// The host is being dropped.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Replaces the view by one that shows this. For [`publish_set`](Self::publish_set) alone, which holds the slots' locks.
    pub(super) fn store_view(&self, mut shown: Vec<InView>) {
        let _one_at_a_time = self.publishing.lock();
        let view = self.view.load();
        // A slot that was in no view and is in none now, such as a claimed one, needs no other view.
        shown.retain(|slot| slot.generation.is_some() || view.held(slot.index, slot.id).is_some());
        if shown.is_empty() {
            return;
        }
        self.view.store(Arc::new(view.with(shown)));
        self.refresh_number.fetch_add(1, Ordering::Release);
    }

    /// The cell in which the current view is.
    pub(crate) fn view(&self) -> &Arc<ArcSwap<View>> {
        &self.view
    }

    #[inline(always)]
    pub(super) fn refresh_number(&self) -> u64 {
        self.refresh_number.load(Ordering::Acquire)
    }

    pub(super) fn no_view(&self) -> Arc<View> {
        self.no_view.clone()
    }

    /// Whether this content serves in a slot, or waits there for the owner.
    pub(crate) fn content_place(&self, slot: &str, hash: &ContentHash) -> Option<ContentPlace> {
        let record = self.named(slot)?;
        let state = record.lock();
        state.has(record.id, hash)
    }

    /// The name of the plugin with this content, if it serves or waits in some slot.
    pub(crate) fn plugin_with(&self, hash: &ContentHash) -> Option<String> {
        self.all().iter().find_map(|record| record.lock().plugin_with(hash))
    }

    /// The slots into which a file with this plugin is loaded: the one that was asked for; or those that are named for the plugin or the
    /// file, and those that were loaded from this file by [`Host::load_as`](crate::Host::load_as).
    pub(crate) fn meant_by(&self, request: &LoadRequest, plugin: &str) -> Vec<Arc<str>> {
        if let Some(slot) = &request.slot {
            return vec![slot.clone()];
        }
        let mut names = self.instances.of(plugin, &request.path);
        for record in self.all().iter() {
            if !names.contains(&record.name) && record.lock().follows(&request.path, plugin) {
                names.push(record.name.clone());
            }
        }
        names
    }

    /// The slots that serve from a file.
    pub(crate) fn served_from(&self, path: &Path) -> Vec<Arc<SlotRecord>> {
        let serves = |record: &&Arc<SlotRecord>| record.lock().current.as_ref().is_some_and(|current| current.path == path);
        self.all().iter().filter(serves).cloned().collect()
    }

    /// Whether a slot was unloaded, and this file lies in the watched folder as it did then.
    pub(crate) fn is_still_unloaded(&self, slot: &str, path: &Path) -> bool {
        let Some(record) = self.named(slot) else { return false };
        let state = record.lock();
        // While a candidate waits for the owner, every file counts as newer.
        let waits = state.staged.is_some() || state.staged_set.is_some();
        state.unloaded().is_some_and(|left| !waits && left.files.still_has(path))
    }

    /// For each slot the slots that its current plugin declares in `uses`.
    pub(crate) fn uses_of_serving(&self) -> UseGraph {
        let records = self.all();
        let uses = records.iter().filter_map(|record| {
            let state = record.lock();
            let manifest = &state.current.as_ref()?.generation.instance().manifest();
            Some((record.name.clone(), manifest.uses.clone()))
        });
        uses.collect()
    }

    /// Which of these slots are empty.
    pub(crate) fn empty_among(&self, names: &[String]) -> Vec<String> {
        let has = |name: &&String| self.named(name).is_some_and(|record| record.lock().current.is_some());
        names.iter().filter(|name| !has(name)).cloned().collect()
    }

    /// How many images only a claim can release, and not the host.
    pub(crate) fn claimed(&self) -> usize {
        let of = |record: &Arc<SlotRecord>| {
            let state = record.lock();
            usize::from(state.mode == Mode::Claimed) + usize::from(state.adopting().is_some())
        };
        self.all().iter().map(of).sum()
    }
}

impl AskedForSafePoints for Slots {
    /// Each reader looks again, and each claim's owner has something to do in his next `sync`.
    fn request_safe_points(&self) {
        self.refresh_number.fetch_add(1, Ordering::Release);
        for record in self.records.read().iter() {
            record.signals.request_safe_point();
        }
    }
}
