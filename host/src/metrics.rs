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
pub(crate) use with::Meter;
#[cfg(not(feature = "metrics"))]
pub(crate) use without::Meter;

#[cfg(not(feature = "metrics"))]
mod without {
    use crate::{event::Event, host::Inner};
    use std::sync::Arc;

    /// Nobody measures.
    #[derive(Default)]
    pub(crate) struct Meter(());

    impl Meter {
        #[inline(always)]
        pub(crate) fn attach(&self, _: &Arc<Inner>) {}

        #[inline(always)]
        pub(crate) fn tell(&self, _: &Event) {}
    }
}

#[cfg(feature = "metrics")]
mod with {
    use super::{names, sample, tell};
    use crate::{event::Event, host::Inner};
    use metrics::{Recorder, with_recorder};
    use parking_lot::Mutex;
    use std::{
        collections::BTreeMap,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{Arc, OnceLock, Weak},
    };

    type Own = Box<dyn Recorder + Send + Sync>;

    /// Those who measure one host.
    #[derive(Default)]
    pub(crate) struct Meter {
        host: OnceLock<Weak<Inner>>,
        /// The host's own, beside the one that the embedder has installed.
        own: Option<Own>,
        late: Mutex<Late>,
    }

    /// By slot, the retired generations that are held for too long, each with the number of its known holders.
    pub(super) type Late = BTreeMap<Arc<str>, BTreeMap<u64, usize>>;

    impl Meter {
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
            self.each(|recorder| sample::whole(host, &Late::new(), recorder));
        }

        /// Something has happened. The caller holds no lock.
        pub(crate) fn tell(&self, event: &Event) {
            let host = self.host.get().and_then(Weak::upgrade);
            let late = self.note(event);
            self.each(|recorder| {
                tell::event(host.as_deref(), event, recorder);
                if let Some(host) = &host {
                    sample::concerned(host, event, &late, recorder);
                }
            });
        }

        /// Looks all gauges up for the recorder that the embedder has installed.
        pub(crate) fn sample(&self, host: &Inner) {
            let late = self.late.lock().clone();
            contained(|| with_recorder(|recorder| sample::whole(host, &late, recorder)));
        }

        /// Looks all gauges up for the host's own.
        #[cfg(feature = "prometheus")]
        pub(super) fn sample_own(&self) {
            let late = self.late.lock().clone();
            if let (Some(host), Some(own)) = (self.host.get().and_then(Weak::upgrade), &self.own) {
                contained(|| sample::whole(&host, &late, own));
            }
        }

        fn each(&self, tell: impl Fn(&dyn Recorder)) {
            contained(|| with_recorder(&tell));
            if let Some(own) = &self.own {
                contained(|| tell(own));
            }
        }

        /// Keeps the account of those that are held for too long; answers it if the event has to do with it.
        fn note(&self, event: &Event) -> Late {
            let mut late = self.late.lock();
            match event {
                Event::Straggling {
                    slot,
                    generation,
                    holders,
                } => {
                    let of_slot = late.entry(slot.clone()).or_default();
                    of_slot.insert(*generation, holders.len().max(1));
                }
                Event::Retired(report) => {
                    if let Some(of_slot) = late.get_mut(&report.slot) {
                        of_slot.remove(&report.generation);
                    }
                }
                _ => return Late::new(),
            }
            late.clone()
        }
    }

    /// An embedder's recorder may panic: that is told by the panic hook, and nothing else comes of it.
    fn contained(body: impl FnOnce()) {
        let _ = catch_unwind(AssertUnwindSafe(body));
    }
}
