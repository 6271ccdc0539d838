//! A view: the current generation of every open slot at one moment, immutable. A host has one `ArcSwap` for its view; a swap
//! replaces the complete view, so a reader sees either all of a change or nothing of it.

use super::generation::Generation;
use reslot_plugin_api::__private::Connection;
use std::sync::Arc;

/// One consistent set of generations. Within a view nothing changes.
///
/// A view keeps its generations alive; see [`Reader`](crate::Reader) for how long that is. Claimed slots are not in it:
/// their owner alone calls them.
///
/// ```
/// use reslot::Host;
/// use sample_interfaces::{Greeter, Pricer};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let (pricer, greeter) = (host.slot::<dyn Pricer>("pricer")?, host.slot::<dyn Greeter>("greeter")?);
/// let mut reader = host.reader();
/// let view = reader.view();
/// # let new_build = plugins.new_build("pricer");
/// host.load(new_build)?;
/// // Within a view nothing changes. The next one has the new generation.
/// assert_eq!((view.generation(&pricer), view.generation(&greeter)), (Some(1), Some(1)));
/// assert_eq!(reader.view().generation(&pricer), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct View {
    /// Counts up from 1 with every swap of the host.
    number: u64,
    entries: Box<[Option<Entry>]>,
}

/// What a view shows of a slot.
pub(super) struct InView {
    /// The slot's place in every view.
    pub(super) index: usize,
    /// The slot's number, unique in the process.
    pub(super) id: u64,
    pub(super) generation: Option<Arc<Generation>>,
}

/// A slot's place in a view.
struct Entry {
    slot: u64,
    connection: Connection,
    generation: Arc<Generation>,
}

// SAFETY: an entry's connection is reached only through a `Shared` interface's client, and stays valid by the entry's `Arc`.
unsafe impl Send for Entry {}
// SAFETY: as above.
unsafe impl Sync for Entry {}

impl View {
    pub(crate) fn empty() -> Self {
        Self {
            number: 1,
            entries: Box::default(),
        }
    }

    /// The next view, with these slots changed.
    pub(super) fn with(&self, changes: Vec<InView>) -> Self {
        let changed = changes.iter().map(|slot| slot.index + 1).max().unwrap_or(0);
        let len = self.entries.len().max(changed);
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|entry| entry.as_ref().map(Entry::duplicate))
            .collect();
        entries.resize_with(len, || None);
        for InView { index, id, generation } in changes {
            entries[index] = generation.map(|generation| Entry::new(id, generation));
        }
        Self {
            number: self.number + 1,
            entries: entries.into(),
        }
    }

    /// Counts up with every swap of the host.
    #[inline(always)]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl View {
    /// The connection in a slot's place.
    #[inline(always)]
    pub(super) fn connection(&self, index: usize, slot: u64) -> Option<&Connection> {
        match self.entries.get(index) {
            Some(Some(entry)) if entry.slot == slot => Some(&entry.connection),
            _ => None,
        }
    }

    /// The generation in a slot's place.
    pub(crate) fn held(&self, index: usize, slot: u64) -> Option<&Arc<Generation>> {
        let entry = self.entries.get(index)?.as_ref()?;
        (entry.slot == slot).then_some(&entry.generation)
    }
}

impl Entry {
    fn new(slot: u64, generation: Arc<Generation>) -> Self {
        Self {
            slot,
            connection: generation.shared_connection(),
            generation,
        }
    }

    fn duplicate(&self) -> Self {
        Self::new(self.slot, self.generation.clone())
    }
}
