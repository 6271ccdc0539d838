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
//! whatever a call through it may borrow from. For the same reason nothing may take the old instance mutably, not even to
//! stop it, before its last holder is gone: what a call answered may still be borrowed from it.

use crate::{
    event::{Event, Log},
    image::take_panic,
    instance::Instance,
    reload::ReaperMessage,
};
use parking_lot::RwLock;
use reslot_plugin_api::{
    __private::{Callee, Connection, LoadedAbi, Status},
    Backtrace, CallError, Fault,
};
use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::Sender,
    },
    time::Instant,
};

/// An instance that can be called.
pub(crate) struct Generation {
    core: Arc<Core>,
    /// Gone only in `drop`.
    instance: Option<Instance>,
    reaper: Sender<ReaperMessage>,
    /// When it ceased to be the current one.
    retired: OnceLock<Instant>,
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
    pub(crate) fn new(slot: Arc<str>, number: u64, instance: Instance, reaper: Sender<ReaperMessage>, log: Log) -> Self {
        let core = Core {
            slot,
            number,
            image: instance.image().id(),
            data: instance.data(),
            table: instance.table(),
            gate: RwLock::new(()),
            closed_by: AtomicUsize::new(0),
            successor: OnceLock::new(),
            log,
        };
        Self {
            core: Arc::new(core),
            instance: Some(instance),
            reaper,
            retired: OnceLock::new(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.core.number
    }

    pub(crate) fn slot(&self) -> &Arc<str> {
        &self.core.slot
    }

    pub(crate) fn instance(&self) -> &Instance {
        match &self.instance {
            Some(instance) => instance,
            None => unreachable!("an instance is taken only when its generation is dropped"),
        }
    }

    /// While nobody else holds it.
    pub(crate) fn instance_mut(&mut self) -> &mut Instance {
        match &mut self.instance {
            Some(instance) => instance,
            None => unreachable!("an instance is taken only when its generation is dropped"),
        }
    }

    /// What a claim calls through. It may be used as long as `self` is held.
    pub(crate) fn connection(&self) -> Connection {
        self.connect(false)
    }

    /// What a view calls through. It may be used as long as `self` is held.
    pub(crate) fn shared_connection(&self) -> Connection {
        self.connect(self.instance().has_state())
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
            gated: self.instance().has_state(),
        }
    }

    fn connect(&self, gated: bool) -> Connection {
        let core: *const Core = Arc::as_ptr(&self.core);
        // SAFETY: data and table are of one instance; they and the core live as long as this generation, which every holder
        // of the connection holds.
        unsafe { Connection::new(self.core.data, self.core.table, core, gated) }
    }

    /// Closes the gate for the length of `hand_over`, if the calls inside come back before `deadline`. Where calls go from
    /// then on is what `hand_over` has noted with [`succeed`](Self::succeed), or still here.
    pub(crate) fn behind_closed_gate<T>(&self, deadline: Instant, hand_over: impl FnOnce() -> T) -> Option<T> {
        let closed = self.core.gate.try_write_until(deadline)?;
        let by_here = ClosedHere::note(&self.core.closed_by);
        let answer = hand_over();
        drop(by_here);
        drop(closed);
        Some(answer)
    }

    /// Notes where the state went. Nobody is inside: the gate is closed, or the caller is the one owner.
    pub(crate) fn succeed(&self, successor: Arc<Self>) {
        if self.core.successor.set(successor).is_err() {
            unreachable!("a generation hands its state over once");
        }
    }

    pub(crate) fn retire(&self) {
        let _ = self.retired.set(Instant::now());
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
        let Some(instance) = self.instance.take() else { return };
        let parts = Parts {
            slot: self.core.slot.clone(),
            number: self.core.number,
            instance,
            retired: self.retired.get().copied(),
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

/// A number that no other living thread has, and that is not 0.
fn this_thread() -> usize {
    thread_local! {
        static HERE: u8 = const { 0 };
    }
    HERE.with(|here| std::ptr::from_ref(here).addr())
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
        let fault = match take_panic(self.image) {
            Some(report) => Fault::Panicked {
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            },
            None => Fault::Panicked {
                message: match status {
                    Status::CALLBACK => "an object that it was lent panicked".to_owned(),
                    _ => "no message was left".to_owned(),
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
        self.log.push(Event::CallFailed {
            slot: self.slot.clone(),
            generation: self.number,
            method,
            error: error.to_string(),
            backtrace: error.backtrace().cloned().unwrap_or_default(),
        });
        error
    }

    fn through_gate(
        &self,
        method: &'static str,
        body: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        let mut core = self;
        loop {
            // Whether another thread has closed it is seen by the lock; of its own doing a thread needs no lock to know.
            let closed_by = core.closed_by.load(Ordering::Relaxed);
            if closed_by != 0 && closed_by == this_thread() {
                return Err(CallError::new(&core.slot, core.number, method, Fault::HandingOver));
            }
            let _entered = match INSIDE.get() {
                0 => core.gate.read(),
                _ => core.gate.read_recursive(),
            };
            match core.successor.get() {
                Some(successor) => core = &successor.core,
                None => {
                    let _inside = Inside::enter();
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
}

impl Callee for Vacant {
    fn fault(&self, method: &'static str, _: Status) -> CallError {
        let fault = match self.host_ended.load(Ordering::Relaxed) {
            true => Fault::HostEnded,
            false => Fault::Vacant,
        };
        CallError::new(&self.slot, 0, method, fault)
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(self.fault(method, Status::PANICKED))
    }
}
