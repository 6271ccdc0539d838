//! A slot as another plugin calls it: the host's end of `reslot_plugin_api::Peer`.
//!
//! What an image gets is a handle, the address of a [`BoundPeer`] that lives with the image's ledger, and, for the length of a
//! use, a hold, an `Arc` of the generation that serves at that moment. Nothing is kept in between, so a plugin that calls another
//! never keeps that one's old image.
//!
//! # The contract
//! A handle stands for an interface that was compared with the current generation, under the slot's lock. The slot keeps it among its
//! contracts as long as the calling image is mapped, so nothing comes to serve there that a call through the handle does not fit.

use super::{
    generation::{CallTarget, Generation},
    record::{Mode, SlotRecord},
    slots::Slots,
    view::View,
};
use crate::deadline::after;
use reslot_artifact::{
    compat,
    manifest::{Interface, Manifest},
};
use reslot_engine::PeerTable;
use reslot_plugin_api::{
    __private::{Callee, LoadedAbi, PassAbi, Status},
    CallError, Fault, PeerErrorKind,
};
use reslot_report::{Cause, FORK_REMEDY, SlotError};
use reslot_sync::{ArcSwap, Mutex};
use reslot_system::{PerProcess, Process};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    ptr::{null, null_mut},
    sync::{Arc, Weak},
    time::Duration,
};

/// The plugins beside one image, and those of them that it has asked for.
pub(crate) struct SlotPeers {
    slots: Weak<Slots>,
    process: Process,
    /// How long a slot may be on its way from one generation to the next.
    patience: Duration,
    /// The slot that the image is for.
    own: Arc<str>,
    /// Those that its plugin says it calls.
    uses: Vec<String>,
    /// Boxed by their `Arc`s: a handle is an address.
    found: Mutex<Vec<Arc<BoundPeer>>>,
}

/// One slot as one image calls it.
struct BoundPeer {
    record: Arc<SlotRecord>,
    /// The host's; after the host's end it holds nothing.
    view: Arc<ArcSwap<View>>,
    /// As long as this lives, it is among the slot's contracts.
    contract: Arc<Interface>,
}

impl SlotPeers {
    pub(crate) fn new(slots: &Arc<Slots>, own: Arc<str>, manifest: &Manifest, patience: Duration) -> Self {
        Self {
            slots: Arc::downgrade(slots),
            process: slots.process,
            patience,
            own,
            uses: manifest.uses.clone(),
            found: Mutex::default(),
        }
    }

    /// Binds the contract to the slot, and answers how it is called from here.
    fn bind(&self, slots: &Slots, name: &str, contract: Interface) -> Result<BoundPeer, (PeerErrorKind, String)> {
        let unknown = || {
            let error = slots.why_not(name);
            let kind = match error {
                SlotError::HostEnded { .. } => PeerErrorKind::NoHost,
                _ => PeerErrorKind::Unknown,
            };
            (kind, error.to_string())
        };
        let record = slots.named(name).ok_or_else(unknown)?;
        let contract = Arc::new(contract);
        let differs = |differences| {
            let differs = SlotError::Interface {
                name: name.to_owned(),
                differences,
            };
            let words = format!(
                "{differs}\n  (\"the host\" is {:?} here, and \"the plugin\" is {name:?})",
                self.own
            );
            (PeerErrorKind::Interface, words)
        };
        let member = in_overlay(&record);
        let mut state = match &member {
            // This thread prepares a set that contains the slot. The set is compared with all contracts before the swap.
            Some(_) => record.lock(),
            None => record.lock_settled_until(after(self.patience)).ok_or_else(|| {
                let words = format!("it was being replaced for longer than {:?}; try again", self.patience);
                (PeerErrorKind::Busy, words)
            })?,
        };
        if state.mode == Mode::Claimed {
            let words = "it is claimed, and only its owner calls it; drop the claim, or call it from the host program";
            return Err((PeerErrorKind::Claimed, words.to_owned()));
        }
        if state.current.is_none() && member.is_none() {
            drop(state);
            return Err(unknown());
        }
        if let Some(member) = &member {
            compat::compare(&contract, interface_of(member)).map_err(differs)?;
        }
        let called = member.as_ref().or(state.serving());
        if called.is_some_and(|called| !record.interfaces.bind(called)) {
            let cause = Cause::NoStubs {
                interface: contract.name.clone(),
            };
            return Err((PeerErrorKind::Interface, format!("{cause}; {}", cause.remedy())));
        }
        state.bind_peer(&contract).map_err(differs)?;
        drop(state);
        Ok(BoundPeer {
            record,
            view: slots.view().clone(),
            contract,
        })
    }
}

impl BoundPeer {
    /// The slot's current generation; on a thread that prepares a set, the set's member for the slot.
    fn serving(&self) -> Option<Arc<Generation>> {
        if let Some(member) = in_overlay(&self.record) {
            // It may have come to be a member before this contract was bound.
            let fits = compat::compare(&self.contract, interface_of(&member)).is_ok();
            return (fits && self.record.interfaces.bind(&member)).then_some(member);
        }
        self.view.load().held(self.record.index, self.record.id).cloned()
    }
}

fn interface_of(generation: &Generation) -> &Interface {
    &generation.instance().manifest().interface
}

impl PeerTable for SlotPeers {
    fn find(&self, name: &str, interface: Interface) -> Result<*const (), (PeerErrorKind, String)> {
        if *name == *self.own {
            let words = "it is this plugin itself: call its own methods instead".to_owned();
            return Err((PeerErrorKind::Itself, words));
        }
        if !self.uses.iter().any(|used| used == name) {
            let words = format!(
                "it is not among those that {:?} says it uses; name it: `export_plugin!(…, uses = [\"{name}\"])`",
                self.own
            );
            return Err((PeerErrorKind::Undeclared, words));
        }
        if self.process.is_another() {
            let words = format!("the host was built in another process, of which this one is a forked child: {FORK_REMEDY}");
            return Err((PeerErrorKind::NoHost, words));
        }
        let Some(slots) = self.slots.upgrade() else {
            return Err((PeerErrorKind::NoHost, "the host was dropped".to_owned()));
        };
        let known = |peer: &&Arc<BoundPeer>| *peer.record.name == *name && *peer.contract == interface;
        // It is compared each time it is asked for: it may be claimed by now, or be another one in a set.
        let again = self.found.lock().iter().find(known).cloned();
        let peer = Arc::new(self.bind(&slots, name, interface)?);
        let peer = again.unwrap_or_else(|| {
            self.found.lock().push(peer.clone());
            peer
        });
        let handle = Arc::as_ptr(&peer).cast::<()>();
        // The image hands it back as an address.
        let _ = handle.expose_provenance();
        Ok(handle)
    }

    unsafe fn load(&self, handle: *const ()) -> LoadedAbi {
        // A thread of a plugin that calls others comes by here and perhaps nowhere else.
        reslot_system::safe_point();
        // SAFETY: by the caller's promise it is the address of one of `found`, which are kept as long as `self`.
        let peer = unsafe { &*handle.cast::<BoundPeer>() };
        match peer.serving() {
            Some(generation) => {
                let hold = Arc::into_raw(generation);
                // SAFETY: the `Arc` was not dropped, it is the caller's now.
                unsafe { &*hold }.crossing(hold.cast())
            }
            None => LoadedAbi {
                hold: null(),
                core: null(),
                data: null_mut(),
                table: null(),
                gated: true,
            },
        }
    }

    unsafe fn release(&self, hold: *const ()) {
        // SAFETY: made by `load` of such an `Arc`, and given back once, by the caller's promise. If it is the last, the instance
        // goes to the reaper, on whose thread all else happens.
        drop(unsafe { Arc::from_raw(hold.cast::<Generation>()) });
    }

    unsafe fn pass(&self, core: *const (), body: PassAbi) -> Result<(), CallError> {
        // SAFETY: a core lives as long as its generation, of which the caller has a hold.
        let core = unsafe { &*core.cast::<CallTarget>() };
        // The image knows the method's name, and puts it into the error.
        core.through_gate("", &mut |data, table, callee| {
            let reached: *const dyn Callee = callee;
            let _ = reached.cast::<()>().expose_provenance();
            // SAFETY: by the caller's promise; the function is code of the calling image, which waits for it.
            unsafe { (body.call)(body.context, data, table, reached.cast()) };
        })
    }

    unsafe fn fault(&self, core: *const (), method: &str, status: Status) -> CallError {
        // SAFETY: a core lives as long as its generation, of which the caller has a hold; if it is a successor's, that hold
        // keeps the successor.
        let core = unsafe { &*core.cast::<CallTarget>() };
        core.fault(of_the_host(method), status)
    }

    unsafe fn absent(&self, handle: *const ()) -> CallError {
        // SAFETY: as in `load`.
        let BoundPeer { record, .. } = unsafe { &*handle.cast::<BoundPeer>() };
        let fault = match record.vacant.fault() {
            Fault::HostEnded => Fault::HostEnded,
            // The lock may never be free here.
            _ if self.process.is_another() => Fault::ForkedProcess,
            _ if record.lock().mode == Mode::Claimed => Fault::Claimed,
            why => why,
        };
        CallError::new(&record.name, 0, "", fault)
    }
}

/// A method's name in memory that stays: the caller's lies in its image, and events outlive that. Each name is kept once a
/// process, and only of methods that failed.
#[cold]
fn of_the_host(method: &str) -> &'static str {
    static NAMES: PerProcess<Mutex<BTreeSet<&'static str>>> = PerProcess::new(Mutex::default);
    let mut names = NAMES.get().lock();
    if let Some(known) = names.get(method) {
        return known;
    }
    let kept: &'static str = Box::leak(method.into());
    names.insert(kept);
    kept
}

reslot_sync::thread_local! {
    static OVERLAY: RefCell<Vec<Arc<Generation>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body`, in which plugins that are called by others on this thread are found among `members` first, and in the host's view
/// only then: for hooks of a candidate that goes into service together with those others, or not at all.
///
/// A member must be complete: nobody may call a candidate whose own hook is running. Threads that `body` starts see the view only.
pub(crate) fn with_overlay<R>(members: &[Arc<Generation>], body: impl FnOnce() -> R) -> R {
    /// Puts back what was there before, however the body ends.
    struct Restore(Vec<Arc<Generation>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = std::mem::take(&mut self.0);
            // Dropped outside of the borrow: the last holder's drop goes far.
            let _members = OVERLAY.with(|overlay| overlay.replace(before));
        }
    }
    let _restore = Restore(OVERLAY.with(|overlay| overlay.replace(members.to_vec())));
    body()
}

/// The member of this thread's transaction that is for a slot. A slot's name is one allocation, shared by its generations.
fn in_overlay(record: &SlotRecord) -> Option<Arc<Generation>> {
    let found = OVERLAY.try_with(|overlay| {
        let overlay = overlay.borrow();
        overlay
            .iter()
            .find(|member| Arc::ptr_eq(member.slot(), &record.name))
            .cloned()
    });
    // A thread that is past its end is in no transaction.
    found.ok().flatten()
}
