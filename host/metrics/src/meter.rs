//! Reports events to one recorder, and sets its gauges. Several threads may update gauges at once; this file makes sure that
//! the last write to a gauge is the current value.

use crate::{
    counters, names,
    sample::{self, LateHolders},
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

/// The highest number of repeated updates because of events in between. Without it, a recorder that causes an event for each
/// gauge would loop forever.
const LOOKS: usize = 16;

/// The suffix of a shadow's slot name. See `Event::Shadowed`.
const SHADOW: &str = "~shadow";

/// The recorder.
pub(crate) enum Target {
    /// The recorder that the program has installed.
    Installed,
    /// The surface's own recorder.
    #[cfg(feature = "prometheus")]
    Own(Box<dyn Recorder + Send + Sync>),
}

/// The metrics of one host in one recorder.
pub(crate) struct Meter {
    host: OnceLock<HostHandle>,
    target: Target,
    late: Mutex<LateHolders>,
    /// The slots whose names are used as labels.
    slots: Mutex<BTreeSet<Arc<str>>>,
    /// A counter that each thread increments before it updates gauges. If it has changed after the update, another thread
    /// may have set a newer value in between, so the thread updates again.
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

    /// Connects the host, so that gauges can be read.
    pub(crate) fn attach(&self, host: HostHandle) {
        let _ = self.host.set(host);
        self.call_recorder(|recorder| {
            names::describe(recorder);
            counters::none_from_zero(recorder);
        });
        self.sample();
    }

    /// Records an event. The caller must not hold a lock.
    pub(crate) fn record(&self, event: &Event) {
        self.note(event);
        let new = self.introduce(event);
        // The counter is incremented last, when the event is recorded.
        self.ticket.fetch_add(1, Ordering::AcqRel);
        self.call_recorder(|recorder| {
            if let Some(slot) = &new {
                counters::from_zero(slot, recorder);
            }
            counters::event(&|slot| self.slots.lock().contains(slot), event, recorder);
            if let Some(Ok(host)) = self.host.get().map(HostHandle::ask) {
                self.update_until_current(|late| sample::concerned(&host, event, late, recorder));
            }
        });
    }

    /// Updates all gauges.
    pub(crate) fn sample(&self) {
        self.ticket.fetch_add(1, Ordering::AcqRel);
        let Some(Ok(host)) = self.host.get().map(HostHandle::ask) else {
            return;
        };
        self.call_recorder(|recorder| self.update_until_current(|late| sample::all(&host, late, recorder)));
    }

    /// Calls the recorder. A panic of the program's recorder is reported by the panic hook and otherwise ignored.
    fn call_recorder(&self, call: impl Fn(&dyn Recorder)) {
        let _ = catch_unwind(AssertUnwindSafe(|| match &self.target {
            Target::Installed => with_recorder(&call),
            #[cfg(feature = "prometheus")]
            Target::Own(recorder) => call(recorder),
        }));
    }

    /// Updates gauges, and repeats it if another thread incremented the counter meanwhile, because that thread may have set
    /// an older value afterwards. So the last thread, or a repetition after it, sets the current values.
    fn update_until_current(&self, look: impl Fn(&Mutex<LateHolders>)) {
        for _ in 0..LOOKS {
            let ticket = self.ticket.load(Ordering::Acquire);
            look(&self.late);
            // A plain load could be reordered before the writes of the gauges, so this is a read-modify-write operation.
            let same = self
                .ticket
                .compare_exchange(ticket, ticket, Ordering::AcqRel, Ordering::Acquire);
            if same.is_ok() {
                return;
            }
        }
    }

    /// The slot, if the event created it. Its counters start with 0, because `increase` does not see the first value of a
    /// series.
    fn introduce(&self, event: &Event) -> Option<Arc<str>> {
        let slot = match event {
            Event::Swapped(report) => report.slot.clone(),
            Event::Shadowed { slot, .. } => format!("{slot}{SHADOW}").into(),
            _ => return None,
        };
        self.slots.lock().insert(slot.clone()).then_some(slot)
    }

    /// Records generations that are held too long.
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
