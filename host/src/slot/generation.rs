//! A generation: an instance with its number, and the host's side of every call to it.
//!
//! # Why a call never meets an unmapped image
//! Whoever can call holds the generation: a view holds it for its readers, a claim for its owner. The last holder's drop
//! sends the instance to the reaper, which alone unloads. So there is no count on the way of a call and no unloading on a
//! caller's thread: the holder's `Arc` is the proof that the image is mapped.
//!
//! # The gate
//! A shared instance whose state is handed over is called through a gate, a readers-writer lock. The hand-over closes it,
//! waits for the calls inside, takes the snapshot, starts the successor and notes it here before it opens. A call that waited
//! goes to the successor, as does every later call through an old view: the state has moved, and answering from the old
//! instance would lose what the call changes. The old generation holds its successor, so a view that holds the former holds
//! whatever a call through it may borrow from. For the same reason nothing may take the old instance mutably while a caller
//! may still hold what a call has answered by reference; see `access`.
//!
//! # Going back
//! After a rollback calls through views of the faulty generation go on to the instance that served before it. That one's first
//! generation has noted the faulty one as its successor, so noting the way back there would make a ring that nothing ever
//! frees, and taking that note away could free what somebody borrows from. So the way back leads to a generation of its own,
//! with the same number and the same instance ([`Generation::again`]): what follows what is always a line.

mod access;

pub(crate) use access::{Access, Closed, OwnersTurn};

use super::{
    counts::CallCounts,
    record::SlotRecord,
    standing::{Standing, Watching},
};
use crate::{
    event::{Event, Log, hold_back},
    given::Package,
    hooks::{this_thread, waiting_thread},
    image::take_panic,
    instance::{Instance, Quiet},
    reload::ReaperMessage,
};
use parking_lot::{Mutex, RwLock};
use reslot_plugin_api::{
    __private::{Callee, Connection, LoadedAbi, Status},
    Backtrace, CallError, Fault,
};
use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    time::Instant,
};

/// An instance that can be called, and where calls through it go on to once its state has moved.
pub(crate) struct Generation {
    core: Arc<Core>,
    live: Arc<Live>,
}

/// The instance of one generation, or of several if the slot went back to it. Dropping the last of them ends it.
pub(crate) struct Live {
    slot: Arc<str>,
    number: u64,
    /// Gone only in `drop`.
    instance: Option<Instance>,
    standing: Arc<Standing>,
    reaper: Sender<ReaperMessage>,
    /// What it was given last beside its state.
    given: Mutex<Package>,
    /// When it ceased to be of use: it neither serves nor stands by.
    retired: Mutex<Option<Instant>>,
}

/// What a call needs of a generation, at an address that stays.
pub(crate) struct Core {
    slot: Arc<str>,
    number: u64,
    image: u64,
    data: *mut (),
    table: *const (),
    gate: RwLock<()>,
    /// The thread that has closed the gate, see [`this_thread`]; 0 while it is open.
    closed_by: AtomicUsize,
    successor: OnceLock<Arc<Generation>>,
    standing: Arc<Standing>,
    log: Log,
}

// SAFETY: data and table are only used through the interface's client, whose rules about threads are the claim's (one owner)
// or those of a `Shared` interface (every plugin is `Sync`).
unsafe impl Send for Core {}
// SAFETY: as above.
unsafe impl Sync for Core {}

/// A generation taken apart for the reaper.
pub(crate) struct Parts {
    pub(crate) slot: Arc<str>,
    pub(crate) number: u64,
    pub(crate) instance: Instance,
    pub(crate) retired: Option<Instant>,
}

impl Generation {
    pub(crate) fn new(
        record: &Arc<SlotRecord>,
        number: u64,
        instance: Instance,
        watching: Watching,
        reaper: Sender<ReaperMessage>,
        log: Log,
    ) -> Self {
        let standing = Arc::new(Standing::new(record, number, watching));
        let live = Live {
            slot: record.name.clone(),
            number,
            instance: Some(instance),
            standing,
            reaper,
            given: Mutex::default(),
            retired: Mutex::new(None),
        };
        Self::of(Arc::new(live), log)
    }

    fn of(live: Arc<Live>, log: Log) -> Self {
        let instance = live.instance();
        let core = Core {
            slot: live.slot.clone(),
            number: live.number,
            image: instance.image().id(),
            data: instance.data(),
            table: instance.table(),
            gate: RwLock::new(()),
            closed_by: AtomicUsize::new(0),
            successor: OnceLock::new(),
            standing: live.standing.clone(),
            log,
        };
        Self {
            core: Arc::new(core),
            live,
        }
    }

    /// The same instance, for a slot that goes back to it; see the module.
    pub(crate) fn again(&self) -> Self {
        *self.live.retired.lock() = None;
        Self::of(self.live.clone(), self.core.log.clone())
    }

    pub(crate) fn number(&self) -> u64 {
        self.core.number
    }

    pub(crate) fn slot(&self) -> &Arc<str> {
        &self.core.slot
    }

    pub(crate) fn instance(&self) -> &Instance {
        self.live.instance()
    }

    /// What it was given beside its state.
    pub(crate) fn given(&self) -> Package {
        self.live.given.lock().clone()
    }

    /// It was given this.
    pub(crate) fn was_given(&self, package: Package) {
        *self.live.given.lock() = package;
    }

    /// How it has stood since it serves.
    pub(crate) fn standing(&self) -> &Arc<Standing> {
        &self.live.standing
    }

    /// By which one can tell whether anybody holds its instance.
    pub(crate) fn hold(&self) -> Weak<Live> {
        Arc::downgrade(&self.live)
    }

    /// The right to change the instance of a candidate, which nobody else holds.
    pub(crate) fn quiet(&mut self) -> Quiet<'_> {
        match Arc::get_mut(&mut self.live).and_then(|live| live.instance.as_mut()) {
            Some(instance) => instance.quiet(),
            None => unreachable!("a candidate's instance is its own"),
        }
    }

    /// What a claim calls through. It may be used as long as `self` is held.
    pub(crate) fn connection(&self) -> Connection {
        self.connect(self.live.standing.is_watched())
    }

    /// What a view calls through. It may be used as long as `self` is held.
    pub(crate) fn shared_connection(&self) -> Connection {
        self.connect(self.is_gated() || self.live.standing.is_watched())
    }

    /// Whether callers of views have to wait while it is replaced.
    pub(crate) fn is_gated(&self) -> bool {
        self.instance().has_state() || self.instance().is_exclusive()
    }

    /// What another plugin calls through, as it crosses. It may be used as long as `hold`, which is this generation's `Arc`.
    pub(super) fn crossing(&self, hold: *const ()) -> LoadedAbi {
        let core = Arc::as_ptr(&self.core).cast::<()>();
        // The image hands it back as an address.
        let _ = core.expose_provenance();
        LoadedAbi {
            hold,
            core,
            data: self.core.data,
            table: self.core.table,
            gated: self.is_gated() || self.live.standing.is_watched(),
        }
    }

    fn connect(&self, gated: bool) -> Connection {
        let core: *const Core = Arc::as_ptr(&self.core);
        // SAFETY: data and table are of one instance; they and the core live as long as this generation, which every holder
        // of the connection holds.
        unsafe { Connection::new(self.core.data, self.core.table, core, gated) }
    }

    /// Closes the gate, if the calls inside come back before `deadline`. Where calls go from then on is what was noted with
    /// [`succeed`](Self::succeed) before it opens again, or still here.
    pub(crate) fn close_gate(&self, deadline: Instant) -> Option<Closed<'_>> {
        // Who comes from here on waits, behind whoever is inside.
        let since = Instant::now();
        let gate = self.core.gate.try_write_until(deadline)?;
        Some(Closed {
            since,
            _by: ClosedHere::note(&self.core.closed_by),
            _gate: gate,
            generation: self,
        })
    }

    /// Notes where the state went. Nobody is inside: the gate is closed, or the caller is the one owner; or what calls inside
    /// still change is given up.
    pub(crate) fn succeed(&self, successor: Arc<Self>) {
        if self.core.successor.set(successor).is_err() {
            unreachable!("a generation hands its state over once");
        }
    }

    /// Notes where calls through old views go on to, unless that is known; those that come through a gate look there.
    pub(crate) fn leads_to(&self, successor: &Arc<Self>) {
        let _ = self.core.successor.set(successor.clone());
    }

    /// It neither serves nor stands by any more.
    pub(crate) fn retire(&self) {
        self.live.retired.lock().get_or_insert_with(Instant::now);
    }

    /// The numbers of those that this one holds, because its state has gone to the first of them, and so on.
    pub(crate) fn successors(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut core = &self.core;
        while let Some(successor) = core.successor.get() {
            numbers.push(successor.number());
            core = &successor.core;
        }
        numbers
    }

    /// An old view may hold a long chain of successors. It is taken apart one after the other: dropped as it hangs, each in
    /// the drop of the one before, it would go as deep into the stack as the chain is long.
    fn let_successors_go(&mut self) {
        let mut next = self.take_successor();
        while let Some(successor) = next {
            let Ok(mut last_holder) = Arc::try_unwrap(successor) else {
                break;
            };
            next = last_holder.take_successor();
        }
    }

    fn take_successor(&mut self) -> Option<Arc<Self>> {
        Arc::get_mut(&mut self.core)?.successor.take()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.let_successors_go();
    }
}

impl Live {
    pub(crate) fn instance(&self) -> &Instance {
        match &self.instance {
            Some(instance) => instance,
            None => unreachable!("an instance is taken only when its generation is dropped"),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        let parts = Parts {
            slot: self.slot.clone(),
            number: self.number,
            instance,
            retired: *self.retired.get_mut(),
        };
        // Without a reaper (the process is ending) the instance is leaked: nothing is unloaded on a caller's thread.
        if let Err(unsent) = self.reaper.send(ReaperMessage::Reap(Box::new(parts))) {
            std::mem::forget(unsent);
        }
    }
}

thread_local! {
    /// How many gates this thread is inside of. A call that comes back to a gate it is inside of must not queue behind the
    /// hand-over that waits for it.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// A gate is closed by this thread, until dropped. A hook that runs behind it must not wait for it.
struct ClosedHere<'a>(&'a AtomicUsize);

impl<'a> ClosedHere<'a> {
    fn note(by: &'a AtomicUsize) -> Self {
        by.store(this_thread(), Ordering::Relaxed);
        Self(by)
    }
}

impl Drop for ClosedHere<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Counts a gate as entered until dropped.
struct Inside;

impl Inside {
    fn enter() -> Self {
        INSIDE.set(INSIDE.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

impl Callee for Core {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        let panic = match status {
            // It was the caller's, or has been told already.
            Status::CALLBACK => None,
            _ => take_panic(self.image),
        };
        let fault = match panic {
            Some(report) => Fault::Panicked {
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            },
            None => Fault::Panicked {
                message: match status {
                    Status::CALLBACK => "an object that it was lent panicked".into(),
                    _ => "no message was left".into(),
                },
                location: None,
                backtrace: Backtrace::default(),
            },
        };
        let error = CallError::new(&self.slot, self.number, method, fault);
        // A panic of what the caller lent is the caller's own, and goes on as that: no fault of the plugin's.
        if status == Status::CALLBACK {
            return error;
        }
        self.standing.counts().failed();
        self.standing.panicked(&error);
        self.log.push(Event::CallFailed {
            slot: self.slot.clone(),
            generation: self.number,
            method,
            error: error.clone(),
            backtrace: error.backtrace().cloned().unwrap_or_default(),
        });
        error
    }

    fn through_gate(
        &self,
        method: &'static str,
        body: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        // A subscriber that is told of a panic may wait for whoever waits for this gate.
        let _later = hold_back();
        let mut core = self;
        loop {
            // Whether another thread has closed it is seen by the lock; of its own doing a thread needs no lock to know.
            let closed_by = core.closed_by.load(Ordering::Relaxed);
            if closed_by != 0 && (closed_by == this_thread() || closed_by == waiting_thread()) {
                core.standing.counts().failed();
                return Err(CallError::new(&core.slot, core.number, method, Fault::HandingOver));
            }
            let _entered = match INSIDE.get() {
                0 => core.gate.read(),
                _ => core.gate.read_recursive(),
            };
            match core.successor.get() {
                Some(successor) => core = &successor.core,
                None if core.standing.is_dead() => {
                    core.standing.counts().failed();
                    return Err(CallError::new(&core.slot, core.number, method, core.standing.why_dead()));
                }
                None => {
                    let _inside = Inside::enter();
                    let _counted = core.standing.enters(method);
                    body(core.data, core.table, core);
                    return Ok(());
                }
            }
        }
    }
}

/// What is behind a slot in a view that does not hold it.
pub(crate) struct Vacant {
    pub(crate) slot: Arc<str>,
    pub(crate) host_ended: AtomicBool,
    /// Nothing serves because it was unloaded.
    pub(crate) unloaded: AtomicBool,
    pub(super) counts: Arc<CallCounts>,
}

impl Vacant {
    /// Why a call finds nothing.
    pub(super) fn why(&self) -> Fault {
        if self.host_ended.load(Ordering::Relaxed) {
            Fault::HostEnded
        } else if self.unloaded.load(Ordering::Relaxed) {
            Fault::Unloaded
        } else {
            Fault::Vacant
        }
    }
}

impl Callee for Vacant {
    fn fault(&self, method: &'static str, _: Status) -> CallError {
        self.counts.failed();
        CallError::new(&self.slot, 0, method, self.why())
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(self.fault(method, Status::PANICKED))
    }
}
