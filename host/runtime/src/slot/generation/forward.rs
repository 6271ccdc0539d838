//! Where calls through a slot's old generations go: to its current one. Each slot has one of these, shared by all of its generations.
//!
//! # Why a call through an old generation always finds the current one
//! The thread that replaces a slot's generation first names the new one here, under the slot's lock. Only then does it note the old one
//! as moved, or let it go. So a call that finds a generation moved finds a later one here, or none if the slot is empty. The slot, or
//! the owner who replaced the old one, holds the generation that is named here. This holds it weakly: neither a `Forward` nor an
//! old generation keeps the current one.

use super::{CallTarget, Generation};
use reslot_plugin_api::Fault;
use reslot_sync::{RwLock, atomic::Ordering};
use std::sync::{Arc, Weak};

/// A slot's current generation, as its old ones find it.
#[derive(Default)]
pub(crate) struct Forward(RwLock<Routes>);

#[derive(Default)]
struct Routes {
    current: Weak<Generation>,
    /// There is no current generation, because the slot was unloaded.
    unloaded: bool,
    /// Old generations whose state has moved; somebody may still call through them.
    moved: Vec<Weak<CallTarget>>,
    /// The host has let go of the slot.
    ended: bool,
}

impl Forward {
    /// Names the slot's current generation, or none. The caller has the slot's lock, and holds the replaced one until this returns.
    pub(crate) fn set_current(&self, current: Option<&Arc<Generation>>) {
        let mut routes = self.0.write();
        routes.current = current.map(Arc::downgrade).unwrap_or_default();
        routes.unloaded = false;
    }

    /// Names no generation, because the slot is unloaded. As for [`set_current`](Self::set_current).
    pub(crate) fn set_unloaded(&self) {
        let mut routes = self.0.write();
        routes.current = Weak::new();
        routes.unloaded = true;
    }

    /// The generation to which a call through `target` goes, whose state has moved.
    ///
    /// # Errors
    /// If the slot is empty; the fault says why.
    pub(super) fn current_for(&self, target: &CallTarget) -> Result<Arc<Generation>, Fault> {
        let routes = self.0.read();
        let current = match target.final_generation.get() {
            Some(generation) => Some(generation.clone()),
            None => routes.current.upgrade(),
        };
        current.ok_or(match routes.unloaded {
            true => Fault::Unloaded,
            false => Fault::Vacant,
        })
    }

    /// Notes that the state of `target` has moved: from here on calls through it go to the current generation, which is `current` now.
    pub(super) fn note_moved(&self, target: &Arc<CallTarget>, current: &Arc<Generation>) {
        let mut routes = self.0.write();
        if routes.ended {
            let _ = target.final_generation.set(current.clone());
        } else if !target.moved.load(Ordering::Relaxed) {
            routes.moved.retain(|known| known.strong_count() > 0);
            routes.moved.push(Arc::downgrade(target));
        }
        target.moved.store(true, Ordering::Release);
    }

    /// The host lets go of the slot, and so of its current generation: the old generations that somebody holds keep it from now on.
    /// The caller holds it until this returns.
    pub(crate) fn end(&self, current: Option<&Arc<Generation>>) {
        let mut routes = self.0.write();
        routes.ended = true;
        routes.current = Weak::new();
        let held: Vec<_> = routes.moved.drain(..).filter_map(|target| target.upgrade()).collect();
        if let Some(current) = current {
            for target in &held {
                let _ = target.final_generation.set(current.clone());
            }
        }
        drop(routes);
        // The last holder of one of them may have let go meanwhile: then it ends here, without the lock.
        drop(held);
    }
}
