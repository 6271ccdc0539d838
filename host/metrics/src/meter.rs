//! From events to one recorder: what is counted, and which gauges are set to what. Gauges may be looked up on several threads at once; here
//! it is kept that the last one that is set is so.

use crate::{
    names,
    sample::{self, LateHolders},
    tell,
};
use metrics::{Recorder, with_recorder};
use parking_lot::Mutex;
use reslot_runtime::{Event, surface::HostHandle};
use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// How often gauges are looked up anew because something happened meanwhile. A recorder that has the host tell of something each
/// time a gauge is set would have no end otherwise.
const LOOKS: usize = 16;

/// What a shadow's slot is called: the slot whose state it has, and this. See `Event::Shadowed`.
const SHADOW: &str = "~shadow";

/// Which recorder is told.
pub(crate) enum Target {
    /// The one that the program has installed.
    Installed,
    /// This one.
    #[cfg(feature = "prometheus")]
    Own(Box<dyn Recorder + Send + Sync>),
}

/// Measures one host for one recorder.
pub(crate) struct Meter {
    host: OnceLock<HostHandle>,
    target: Target,
    late: Mutex<LateHolders>,
    /// Those whose names are labels.
    slots: Mutex<BTreeSet<Arc<str>>>,
    /// Taken by each who looks gauges up, after what he looks for has happened. Whoever finds it moved on once he has set them may
    /// have set an older value than somebody else before him, and looks again.
    ticket: AtomicU64,
}

impl Meter {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            host: OnceLock::new(),
            target,
            late: Mutex::default(),
            slots: Mutex::default(),
            ticket: AtomicU64::new(0),
        }
    }

    /// From here on gauges can be looked up.
    pub(crate) fn attach(&self, host: HostHandle) {
        let _ = self.host.set(host);
        self.to_recorder(|recorder| {
            names::describe(recorder);
            tell::none_from_zero(recorder);
        });
        self.sample();
    }

    /// Something has happened. The caller holds no lock.
    pub(crate) fn tell(&self, event: &Event) {
        self.note(event);
        let new = self.introduce(event);
        // Last: what it has others look up again is noted.
        self.ticket.fetch_add(1, Ordering::AcqRel);
        self.to_recorder(|recorder| {
            if let Some(slot) = &new {
                tell::from_zero(slot, recorder);
            }
            tell::event(&|slot| self.slots.lock().contains(slot), event, recorder);
            if let Some(Ok(host)) = self.host.get().map(HostHandle::ask) {
                self.until_it_is_so(|late| sample::concerned(&host, event, late, recorder));
            }
        });
    }

    /// Looks all gauges up.
    pub(crate) fn sample(&self) {
        self.ticket.fetch_add(1, Ordering::AcqRel);
        let Some(Ok(host)) = self.host.get().map(HostHandle::ask) else {
            return;
        };
        self.to_recorder(|recorder| self.until_it_is_so(|late| sample::whole(&host, late, recorder)));
    }

    /// The program's recorder may panic: the panic hook tells of that, and nothing else comes of it.
    fn to_recorder(&self, tell: impl Fn(&dyn Recorder)) {
        let _ = catch_unwind(AssertUnwindSafe(|| match &self.target {
            Target::Installed => with_recorder(&tell),
            #[cfg(feature = "prometheus")]
            Target::Own(recorder) => tell(recorder),
        }));
    }

    /// Looks gauges up and sets them, and again if somebody took a ticket meanwhile: he may have set what this one has set to an
    /// older value since. He who took the last one sets them last, or is followed by one who looks again.
    fn until_it_is_so(&self, look: impl Fn(&Mutex<LateHolders>)) {
        for _ in 0..LOOKS {
            let ticket = self.ticket.load(Ordering::Acquire);
            look(&self.late);
            // Not a mere load, which might be made before the values have arrived: who comes after this sets them after them.
            let same = self
                .ticket
                .compare_exchange(ticket, ticket, Ordering::AcqRel, Ordering::Acquire);
            if same.is_ok() {
                return;
            }
        }
    }

    /// The slot that the event has come to be, if it has: its counters begin with 0, for what has no beginning is not seen to grow.
    fn introduce(&self, event: &Event) -> Option<Arc<str>> {
        let slot = match event {
            Event::Swapped(report) => report.slot.clone(),
            Event::Shadowed { slot, .. } => format!("{slot}{SHADOW}").into(),
            _ => return None,
        };
        self.slots.lock().insert(slot.clone()).then_some(slot)
    }

    /// Keeps the account of those that are held for too long.
    fn note(&self, event: &Event) {
        match event {
            Event::DrainTimeout {
                slot,
                generation,
                holders,
            } => {
                let mut late = self.late.lock();
                let of_slot = late.entry(slot.clone()).or_default();
                of_slot.insert(*generation, holders.len().max(1));
            }
            Event::Retired(report) => {
                if let Some(of_slot) = self.late.lock().get_mut(&report.slot) {
                    of_slot.remove(&report.generation);
                }
            }
            _ => {}
        }
    }
}
