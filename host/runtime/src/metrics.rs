//! What the host tells, as metrics: counters and times derived from its events, gauges looked up where they change and when
//! somebody fetches them. They go to the `metrics` recorder that the embedder has installed, and, if the host has an endpoint
//! for Prometheus, to one of its own. Behind the feature `metrics`, and without it nothing at all. What is measured is found out
//! elsewhere; nothing here decides anything.
//!
//! A recorder runs on whichever thread tells of an event, no lock is held while it does, and its panic ends nothing. Labels are
//! slots and words of ours, never a path, a hash or a message: as many series as the host has slots, and no more.

#[cfg(feature = "prometheus")]
pub(crate) mod endpoint;
#[cfg(feature = "metrics")]
mod names;
#[cfg(feature = "metrics")]
mod sample;
#[cfg(feature = "metrics")]
mod tell;
#[cfg(feature = "metrics")]
mod words;

#[cfg(feature = "metrics")]
pub(crate) use with::MetricsRecorder;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::MetricsRecorder;

#[cfg(not(feature = "metrics"))]
mod without {
    use crate::host::Inner;
    use reslot_report::Event;
    use std::sync::Arc;

    /// Nobody measures.
    #[derive(Default)]
    pub(crate) struct MetricsRecorder(());

    impl MetricsRecorder {
        #[inline(always)]
        pub(crate) fn attach(&self, _: &Arc<Inner>) {}

        #[inline(always)]
        pub(crate) fn tell(&self, _: &Event) {}
    }
}

#[cfg(feature = "metrics")]
mod with {
    use super::{names, sample, tell};
    use crate::{host::Inner, shadow_name};
    use metrics::{Recorder, with_recorder};
    use parking_lot::Mutex;
    use reslot_report::Event;
    use std::{
        collections::{BTreeMap, BTreeSet},
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc, OnceLock, Weak,
            atomic::{AtomicU64, Ordering},
        },
    };

    type Own = Box<dyn Recorder + Send + Sync>;

    /// How often gauges are looked up anew because something happened meanwhile. A recorder that has the host tell of something each
    /// time a gauge is set would have no end otherwise.
    const LOOKS: usize = 16;

    /// Those who measure one host.
    #[derive(Default)]
    pub(crate) struct MetricsRecorder {
        host: OnceLock<Weak<Inner>>,
        /// The host's own, beside the one that the embedder has installed.
        own: Option<Own>,
        late: Mutex<Late>,
        /// Those whose names are labels.
        slots: Mutex<BTreeSet<Arc<str>>>,
        /// Taken by each who looks gauges up, after what he looks for has happened. Whoever finds it moved on once he has set them may
        /// have set an older value than somebody else before him, and looks again.
        ticket: AtomicU64,
    }

    /// By slot, the retired generations that are held for too long, each with the number of its known holders.
    pub(super) type Late = BTreeMap<Arc<str>, BTreeMap<u64, usize>>;

    impl MetricsRecorder {
        #[cfg(feature = "prometheus")]
        pub(crate) fn with_own(own: impl Recorder + Send + Sync + 'static) -> Self {
            Self {
                own: Some(Box::new(own)),
                ..Self::default()
            }
        }

        /// From here on gauges can be looked up.
        pub(crate) fn attach(&self, host: &Arc<Inner>) {
            let _ = self.host.set(Arc::downgrade(host));
            self.each(names::describe);
            self.each(tell::none_from_zero);
            self.ticket.fetch_add(1, Ordering::AcqRel);
            self.each(|recorder| self.until_it_is_so(|late| sample::whole(host, late, recorder)));
        }

        /// Something has happened. The caller holds no lock.
        pub(crate) fn tell(&self, event: &Event) {
            let host = self.host.get().and_then(Weak::upgrade);
            self.note(event);
            let new = self.introduce(event);
            // Last: what it has others look up again is noted.
            self.ticket.fetch_add(1, Ordering::AcqRel);
            self.each(|recorder| {
                if let Some(slot) = &new {
                    tell::from_zero(slot, recorder);
                }
                tell::event(&|slot| self.slots.lock().contains(slot), event, recorder);
                if let Some(host) = &host {
                    self.until_it_is_so(|late| sample::concerned(host, event, late, recorder));
                }
            });
        }

        /// Looks all gauges up for the recorder that the embedder has installed.
        pub(crate) fn sample(&self, host: &Inner) {
            self.ticket.fetch_add(1, Ordering::AcqRel);
            let look = |recorder: &dyn Recorder| self.until_it_is_so(|late| sample::whole(host, late, recorder));
            contained(|| with_recorder(look));
        }

        /// Looks all gauges up for the host's own.
        #[cfg(feature = "prometheus")]
        pub(super) fn sample_own(&self) {
            self.ticket.fetch_add(1, Ordering::AcqRel);
            if let (Some(host), Some(own)) = (self.host.get().and_then(Weak::upgrade), &self.own) {
                contained(|| self.until_it_is_so(|late| sample::whole(&host, late, own)));
            }
        }

        fn each(&self, tell: impl Fn(&dyn Recorder)) {
            contained(|| with_recorder(&tell));
            if let Some(own) = &self.own {
                contained(|| tell(own));
            }
        }

        /// Looks gauges up and sets them, and again if somebody took a ticket meanwhile: he may have set what this one has set to an
        /// older value since. He who took the last one sets them last, or is followed by one who looks again.
        fn until_it_is_so(&self, look: impl Fn(&Mutex<Late>)) {
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
                Event::Shadowed { slot, .. } => shadow_name::of_slot(slot).into(),
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

    /// An embedder's recorder may panic: that is told by the panic hook, and nothing else comes of it.
    fn contained(body: impl FnOnce()) {
        let _ = catch_unwind(AssertUnwindSafe(body));
    }
}
