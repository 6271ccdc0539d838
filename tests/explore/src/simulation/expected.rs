//! The simple model: what must be true of a host after the steps so far.

use super::program::Name;
use crate::world::{self, Fault, Script};
use reslot_runtime::{Event, Events, LoadOutcome, Refusal, RestoredState};
use std::{collections::BTreeMap, sync::atomic::Ordering::Relaxed};

/// What is known of one host.
#[derive(Default)]
pub struct Expected {
    /// The builds that were given to each slot.
    given: BTreeMap<Name, Vec<Script>>,
    /// Whether the tally's state may be older than the answered calls.
    pub may_have_lost: bool,
    /// Whether the book's state may have changed while nobody owned it.
    pub book_changed: bool,
    /// What the events have told so far.
    events: Option<Events>,
}

impl Expected {
    pub fn new(events: Events) -> Self {
        Self {
            events: Some(events),
            ..Self::default()
        }
    }

    pub fn gives(&mut self, name: Name, script: &Script) {
        self.given.entry(name).or_default().push(script.clone());
    }

    /// The newest build of a slot.
    pub fn newest(&self, name: Name) -> Option<Script> {
        self.given.get(&name)?.last().cloned()
    }

    /// Whether every build that was given to these slots so far behaves.
    pub fn is_quiet(&self, names: &[Name]) -> bool {
        let good = |script: &Script| script.fault.is_none() && script.stays == 0 && !script.lies;
        names.iter().filter_map(|name| self.given.get(name)).flatten().all(good)
    }

    /// A load of this build was answered.
    pub fn loaded(
        &self,
        name: Name,
        script: &Script,
        version: Option<u64>,
        peer_serves: bool,
        answer: &Result<LoadOutcome, Refusal>,
    ) {
        match answer {
            Ok(LoadOutcome::Swapped(report)) => {
                assert_eq!(&*report.slot, name.slot());
                if script.fault.is_none() && name != Name::Book {
                    let expected = Some(script.version);
                    assert_eq!(version, expected, "a good build that was swapped in serves: {report:?}");
                }
            }
            Ok(_) => {}
            Err(refusal) => {
                let may_be_refused = !self.is_quiet(&[name]) || (name == Name::Calls && !peer_serves);
                assert!(may_be_refused, "a good build was refused: {refusal}");
            }
        }
    }

    /// Reads the events since the last time.
    pub fn read_events(&mut self) {
        let Some(events) = &mut self.events else { return };
        while let Some(record) = events.try_recv() {
            match &record.event {
                Event::RolledBack(report) if &*report.slot == "tally" => {
                    self.may_have_lost |= !matches!(report.state, RestoredState::Carried { .. });
                }
                Event::Unloaded { slot, .. } | Event::SlotEmptied { slot, .. } if &**slot == "tally" => {
                    self.may_have_lost = true;
                }
                Event::RolledBack(report) if &*report.slot == "book" => self.book_changed = true,
                Event::Unloaded { slot, .. } | Event::SlotEmptied { slot, .. } if &**slot == "book" => {
                    self.book_changed = true;
                }
                _ => {}
            }
        }
    }

    /// At the end of a host's life, when nobody calls: the tally's total against the calls that were answered.
    pub fn total(&self, total: Option<u64>, added: u64) {
        let Some(total) = total else { return };
        if self.may_have_lost {
            assert!(total <= added, "the total is {total} after {added} answered calls");
        } else {
            assert_eq!(total, added, "no effect of a call is lost: the total, and the answered calls");
        }
    }

    /// After the end of a host: which images may be left.
    pub fn ended(&self) {
        for image in world::images() {
            // An image that is not the linted artifact stays for ever. A host ends without those that are quarantined: their closing was
            // refused, or a hook of theirs hangs.
            let hangs = matches!(image.script.fault, Some((_, Fault::Hangs)));
            let may_stay = image.script.lies || image.script.stays > 0 || hangs;
            if image.mapped.load(Relaxed) && !may_stay {
                let (slot, generation) = (&image.slot, image.generation);
                panic!("an image that nobody holds is unmapped: generation {generation} of {slot} is mapped after the end");
            }
        }
    }
}
