//! A generation: an instance with its number, and the host's side of every call to it.
//!
//! # Why a call never meets an unmapped image
//! Every caller holds the generation: a view holds it for its readers, a claim for its owner. The last holder's drop
//! sends the instance to the reaper, and only the reaper unloads. So a call counts nothing, and no caller's thread unloads
//! anything: the holder's `Arc` is the proof that the image is mapped.
//!
//! # The gate
//! A shared instance whose state is handed over is called through its gate, a readers-writer lock. The hand-over closes the gate,
//! waits for the calls inside, takes the snapshot, starts the successor, makes that one the slot's current generation, and notes that the
//! state has *moved* before the gate opens. A call that waited at the gate, and every later call through an old view, goes to
//! the current generation: answering from the old instance would lose what the call changes. The gate belongs to the instance,
//! so a closed gate means that no call is inside of the instance, whichever generation it came through.
//!
//! # Old views hold what they saw, and no more
//! A generation whose state has moved does not hold its successor. It asks the slot's [`Forward`] for the current generation, and holds
//! that one for the length of the call. There is one exception: a method that answers a borrow. The caller's borrow lives as long
//! as the view through which he called, so the generation of that view keeps the lender's instance, in `CallTarget::lenders`, until the view lets it go.
//! `CallTarget::lenders` holds instances (`GatedInstance`), which hold no generation, so there is no cycle of `Arc`s.
//!
//! When the host ends nobody keeps the current generation for the old views any more. Then each old generation that somebody still holds
//! gets a strong link to it (`CallTarget::final_generation`). Such a link leads from a generation to one that was made later, and so is
//! never part of a cycle either.
//!
//! # Rollback
//! After a rollback, calls through views of the faulty generation reach the instance that was current before it, through a new `Generation`
//! with the same number ([`Generation::duplicate`]). The old `Generation` of that number stays marked as moved. If a caller may hold a borrow
//! from that instance, nothing may change it. Then the rollback leaves it alone, and makes a second instance in the same image
//! ([`Generation::make_second_instance`]), which gets the state and the callers; the first one ends when its last holder releases it. For the same
//! reason nothing changes an instance while a caller may hold a borrow from it; see `access`.

mod access;
mod forward;

pub(crate) use access::{Access, Closed, OwnersTurn};
pub(crate) use forward::Forward;

use super::{
    call_stats::{CallStats, Watching},
    counts::CallCounts,
    ending::EndedGeneration,
    messages::ReaperMessage,
    signals::OwnerSignals,
};
use crate::{deferred_notifications::defer_notifications, event::Log, inputs::PluginInputs};
use reslot_engine::{
    ExclusiveInstance, Image, Instance,
    failures::{self, CallFailure},
    panics::take_panic,
};
use reslot_plugin_api::{
    __private::{Callee, Connection, LoadedAbi, Status},
    Backtrace, CallError, Fault, InstanceEnd,
};
use reslot_report::{Event, HookError};
use reslot_sync::{
    Instant, Mutex, RwLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc::Sender,
};
use reslot_system::{
    Process, awake,
    hooks::{this_thread, waiting_thread},
};
use std::{
    cell::Cell,
    sync::{Arc, OnceLock, Weak},
};

/// What the generations of one slot share.
#[derive(Clone)]
pub(crate) struct SlotLinks {
    pub(crate) name: Arc<str>,
    pub(crate) signals: Arc<OwnerSignals>,
    pub(crate) counts: Arc<CallCounts>,
    pub(crate) snapshot_size: Arc<AtomicUsize>,
    /// How old generations find the current one.
    pub(crate) forward: Arc<Forward>,
}

/// A reference to an instance through which it is called. After a rollback the same instance gets another `Generation` with the same number.
pub(crate) struct Generation {
    target: Arc<CallTarget>,
}

/// The instance of a generation, or of several if the slot was rolled back to it. Dropping the last of them ends it.
pub(crate) struct GatedInstance {
    process: Process,
    slot: Arc<str>,
    number: u64,
    /// Gone only in `drop`.
    instance: Option<Instance>,
    gate: RwLock<()>,
    /// The thread that has closed the gate, see [`this_thread`]; 0 while it is open.
    closed_by: AtomicUsize,
    call_stats: Arc<CallStats>,
    reaper: Sender<ReaperMessage>,
    /// What it was given last beside its state.
    inputs: Mutex<PluginInputs>,
    /// How many bytes the slot's state had when it was encoded last, so that the next encoding need not grow its buffer.
    snapshot_size: Arc<AtomicUsize>,
    /// When it was retired: since then it is neither current nor the standby.
    retired: Mutex<Option<Instant>>,
}

/// What a call needs of a generation, at an address that stays.
pub(crate) struct CallTarget {
    gated_instance: Arc<GatedInstance>,
    slot: Arc<str>,
    number: u64,
    image: u64,
    data: *mut (),
    table: *const (),
    call_stats: Arc<CallStats>,
    /// The state is no longer here: calls go to what `forward` names. Set while the gate is closed, or when the effects of
    /// the calls inside are given up.
    moved: AtomicBool,
    forward: Arc<Forward>,
    /// Where calls go once the host has let go of the slot.
    final_generation: OnceLock<Arc<Generation>>,
    /// Instances of later generations from which somebody has borrowed through this one.
    lenders: Mutex<Vec<Arc<GatedInstance>>>,
    log: Log,
}

// SAFETY: data and table are only used through the interface's client, whose rules about threads are the claim's (one owner)
// or those of a `Shared` interface (every plugin is `Sync`).
unsafe impl Send for CallTarget {}
// SAFETY: as above.
unsafe impl Sync for CallTarget {}

impl Generation {
    /// Makes an image's first instance.
    ///
    /// # Errors
    /// If its constructor fails, with the image, which is still to be closed.
    pub(crate) fn create(
        image: Box<dyn Image>,
        of: SlotLinks,
        number: u64,
        watching: Watching,
        reaper: Sender<ReaperMessage>,
        log: Log,
    ) -> Result<Self, (Box<dyn Image>, HookError)> {
        // SAFETY: the rules of `Instance::create` are kept here:
        // - Methods are called only through a claim, a view or a peer, and each of them holds the generation.
        // - A plugin that is not shared has one caller: the owner of its claim. `snapshot` and `health` run on the owner's thread, or on
        //   another one while the owner waits. In an open slot nobody calls such a plugin, and `SlotRecord::begin_moving` keeps claims out;
        //   so does `begin_encoding`, until a `snapshot` has returned that the host waits for no longer.
        // - `exclusive_instance` is called for a candidate, which nobody calls yet, and in `access`, which proves it there.
        // - `destroy` is called after the last holder has dropped the generation (`GatedInstance::drop`).
        let instance = unsafe { Instance::create(image, of.name.clone(), number) }?;
        let gated = GatedInstance {
            process: Process::this(),
            slot: of.name.clone(),
            number,
            instance: Some(instance),
            gate: RwLock::new(()),
            closed_by: AtomicUsize::new(0),
            call_stats: Arc::new(CallStats::new(of.name, number, of.signals, of.counts, watching)),
            reaper,
            inputs: Mutex::default(),
            snapshot_size: of.snapshot_size,
            retired: Mutex::new(None),
        };
        Ok(Self::of(Arc::new(gated), of.forward, log))
    }

    fn of(gated: Arc<GatedInstance>, forward: Arc<Forward>, log: Log) -> Self {
        let instance = gated.instance();
        let target = CallTarget {
            slot: gated.slot.clone(),
            number: gated.number,
            image: instance.image().id(),
            data: instance.data(),
            table: instance.table(),
            call_stats: gated.call_stats.clone(),
            moved: AtomicBool::new(false),
            forward,
            final_generation: OnceLock::new(),
            lenders: Mutex::default(),
            log,
            gated_instance: gated,
        };
        Self {
            target: Arc::new(target),
        }
    }

    /// The same instance, for a slot that goes back to it; see the module.
    pub(crate) fn duplicate(&self) -> Self {
        *self.gated_instance().retired.lock() = None;
        Self::of(
            self.target.gated_instance.clone(),
            self.target.forward.clone(),
            self.target.log.clone(),
        )
    }

    /// A second instance in the same image, with the same number, for a slot that goes back while somebody may hold a borrow from the
    /// first one; see the module. It has no state yet.
    ///
    /// # Errors
    /// If its constructor fails.
    pub(crate) fn make_second_instance(&self) -> Result<Self, HookError> {
        let former = self.gated_instance();
        let gated = GatedInstance {
            process: Process::this(),
            slot: former.slot.clone(),
            number: former.number,
            instance: Some(former.instance().second()?),
            gate: RwLock::new(()),
            closed_by: AtomicUsize::new(0),
            call_stats: Arc::new(former.call_stats.for_second_instance()),
            reaper: former.reaper.clone(),
            inputs: Mutex::default(),
            snapshot_size: former.snapshot_size.clone(),
            retired: Mutex::new(None),
        };
        Ok(Self::of(
            Arc::new(gated),
            self.target.forward.clone(),
            self.target.log.clone(),
        ))
    }

    fn gated_instance(&self) -> &GatedInstance {
        &self.target.gated_instance
    }

    pub(crate) fn number(&self) -> u64 {
        self.target.number
    }

    pub(crate) fn slot(&self) -> &Arc<str> {
        &self.target.slot
    }

    pub(crate) fn instance(&self) -> &Instance {
        self.gated_instance().instance()
    }

    /// What it was given beside its state.
    pub(crate) fn inputs(&self) -> PluginInputs {
        self.gated_instance().inputs.lock().clone()
    }

    /// Notes what it was given.
    pub(crate) fn set_inputs(&self, inputs: PluginInputs) {
        *self.gated_instance().inputs.lock() = inputs;
    }

    /// How many bytes the slot's next state may have.
    pub(crate) fn expected_snapshot_size(&self) -> usize {
        let last = self.gated_instance().snapshot_size.load(Ordering::Relaxed);
        // With room for what it may have grown by.
        last + last / 8
    }

    /// The slot's state had so many bytes.
    pub(crate) fn note_snapshot_size(&self, bytes: usize) {
        self.gated_instance().snapshot_size.store(bytes, Ordering::Relaxed);
    }

    /// Its call statistics.
    pub(crate) fn call_stats(&self) -> &Arc<CallStats> {
        &self.target.call_stats
    }

    /// To find out later whether anybody holds its instance.
    pub(crate) fn weak_instance(&self) -> Weak<GatedInstance> {
        Arc::downgrade(&self.target.gated_instance)
    }

    /// The right to change the instance of a candidate, which nobody else holds.
    pub(crate) fn exclusive_instance(&mut self) -> ExclusiveInstance<'_> {
        let gated = Arc::get_mut(&mut self.target).and_then(|target| Arc::get_mut(&mut target.gated_instance));
        match gated.and_then(|gated| gated.instance.as_mut()) {
            Some(instance) => instance.exclusive_instance(),
            None => unreachable!("a candidate's instance is its own"),
        }
    }

    /// What a claim calls through. It may be used as long as `self` is held.
    pub(crate) fn connection(&self) -> Connection {
        self.connect(self.call_stats().is_watched())
    }

    /// What a view calls through. It may be used as long as `self` is held.
    pub(crate) fn shared_connection(&self) -> Connection {
        self.connect(self.is_gated() || self.call_stats().is_watched())
    }

    /// Whether callers of views have to wait while it is replaced.
    pub(crate) fn is_gated(&self) -> bool {
        self.instance().has_state() || self.instance().is_exclusive()
    }

    /// What another plugin calls through, as it crosses. It may be used as long as `hold`, which is this generation's `Arc`.
    pub(super) fn crossing(&self, hold: *const ()) -> LoadedAbi {
        let target = Arc::as_ptr(&self.target).cast::<()>();
        // The image hands it back as an address.
        let _ = target.expose_provenance();
        LoadedAbi {
            hold,
            core: target,
            data: self.target.data,
            table: self.target.table,
            gated: self.is_gated() || self.call_stats().is_watched(),
        }
    }

    fn connect(&self, gated: bool) -> Connection {
        let target: *const CallTarget = Arc::as_ptr(&self.target);
        // SAFETY: data and table are of one instance; they and the target live as long as this generation, which every holder
        // of the connection holds.
        unsafe { Connection::new(self.target.data, self.target.table, target, gated) }
    }

    /// Closes the gate, if the calls inside come back before `deadline`. Callers wait from then on. When it opens they go in, or
    /// on to the current generation if the state has [moved](Self::forward_to).
    pub(crate) fn close_gate(&self, deadline: Instant) -> Option<Closed<'_>> {
        // From here on callers wait, behind those that are inside.
        let since = Instant::now();
        let gate = &self.gated_instance().gate;
        let gate = gate
            .try_write()
            .or_else(|| awake::wait_until(deadline, |until| gate.try_write_until(until)))?;
        Some(Closed {
            since,
            _by: GateClosedBy::note(&self.gated_instance().closed_by),
            _gate: gate,
            generation: self,
        })
    }

    /// From now on calls through the gate of this generation are forwarded to `current`, which is the slot's current generation already. The caller has
    /// closed the gate, or is the owner, or accepts that what running calls still change is lost.
    pub(crate) fn forward_to(&self, current: &Arc<Self>) {
        self.target.forward.note_moved(&self.target, current);
    }

    /// It is neither current nor the standby any more.
    pub(crate) fn retire(&self) {
        self.gated_instance().retired.lock().get_or_insert_with(Instant::now);
    }

    /// The numbers of the generations whose instances this one holds besides its own: somebody has borrowed from them through
    /// this one, or calls through it go there because the host has ended.
    pub(crate) fn keeps(&self) -> Vec<u64> {
        let mut numbers: Vec<_> = self.target.lenders.lock().iter().map(|gated| gated.number).collect();
        let mut target = &self.target;
        while let Some(last) = target.final_generation.get() {
            target = &last.target;
            numbers.push(target.number);
            numbers.extend(target.lenders.lock().iter().map(|gated| gated.number));
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers.retain(|number| *number != self.target.number);
        numbers
    }
}

impl GatedInstance {
    pub(crate) fn instance(&self) -> &Instance {
        match &self.instance {
            Some(instance) => instance,
            None => unreachable!("an instance is taken only when its generation is dropped"),
        }
    }
}

impl Drop for GatedInstance {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        // The reaper's thread is the parent's. Its image stays mapped as long as this child lives.
        if self.process.is_another() {
            return std::mem::forget(instance);
        }
        let parts = EndedGeneration {
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

impl CallTarget {
    /// Keeps the instance of `lender` for as long as this generation is held, if what the method answers may be borrowed from it.
    fn keep_lender(&self, lender: &Generation, method: &str) {
        // A plugin's call comes without the method's name, so any method may lend. What it borrows lives as long as its hold on this
        // generation.
        let lends = match method {
            "" => lender.instance().answers_references(),
            method => lender.instance().lends(method),
        };
        let gated = &lender.target.gated_instance;
        if !lends || Arc::ptr_eq(gated, &self.gated_instance) {
            return;
        }
        let mut lenders = self.lenders.lock();
        if !lenders.iter().any(|known| Arc::ptr_eq(known, gated)) {
            lenders.push(gated.clone());
        }
    }
}

reslot_sync::thread_local! {
    /// How many gates this thread is inside of. A call that comes back to a gate it is inside of must not queue behind the
    /// hand-over that waits for it.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// A gate is closed by this thread, until dropped. A hook for which this thread waits must not wait at the gate.
struct GateClosedBy<'a>(&'a AtomicUsize);

impl<'a> GateClosedBy<'a> {
    fn note(by: &'a AtomicUsize) -> Self {
        by.store(this_thread(), Ordering::Relaxed);
        Self(by)
    }
}

impl Drop for GateClosedBy<'_> {
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

impl CallTarget {
    /// Somebody has met the end of the instance. It is reported once.
    fn note_end(&self, end: &InstanceEnd) {
        if self.call_stats.has_ended(end) {
            self.log.push(Event::InstanceEnded {
                slot: self.slot.clone(),
                generation: self.number,
                end: end.clone(),
            });
        }
    }
}

impl Generation {
    /// Looks whether its instance has ended since the last call, and reports that.
    pub(crate) fn look_for_end(&self) {
        if let Some(end) = self.instance().ended() {
            self.target.note_end(&end);
        }
    }
}

/// What the transport has stored for a call that failed on its way.
fn fault_of(failure: Option<CallFailure>) -> Fault {
    match failure {
        Some(CallFailure::Ended(end)) => Fault::InstanceEnded(end),
        Some(CallFailure::NotCarried(reason)) => Fault::NotCarried { reason },
        None => Fault::NotCarried {
            reason: "its engine gave no reason".to_owned(),
        },
    }
}

impl Callee for CallTarget {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        let failure = match status {
            Status::FAILED => Some(failures::take(self.image)),
            _ => None,
        };
        let panic = match status {
            // It was the caller's, or was reported already.
            Status::CALLBACK | Status::FAILED => None,
            _ => take_panic(self.image),
        };
        let fault = match (failure, panic) {
            (Some(failure), _) => fault_of(failure),
            (None, Some(report)) => Fault::Panicked {
                message: report.message,
                location: report.location,
                backtrace: report.backtrace,
            },
            (None, None) => Fault::Panicked {
                message: match status {
                    Status::CALLBACK => "an object that it was lent panicked".into(),
                    _ => "no message was left".into(),
                },
                location: None,
                backtrace: Backtrace::default(),
            },
        };
        let error = CallError::new(&self.slot, self.number, method, fault);
        // A panic of what the caller lent is the caller's own, and goes on as that: no fault of the plugin's. In a forked child nobody
        // judges the plugin, and the locks may never be free.
        if status == Status::CALLBACK || self.gated_instance.process.is_another() {
            return error;
        }
        self.call_stats.counts().failed();
        match error.fault() {
            // The version is not at fault.
            Fault::NotCarried { .. } => {}
            Fault::InstanceEnded(end) => {
                self.note_end(end);
                return error;
            }
            _ => self.call_stats.panicked(&error),
        }
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
        // The gate may have been closed during `fork`, and never opens here then.
        if self.gated_instance.process.is_another() {
            return Err(CallError::new(&self.slot, self.number, method, Fault::ForkedProcess));
        }
        // A subscriber that receives a panic may wait for a thread that waits for this gate.
        let _later = defer_notifications();
        // What the call goes on to, if the state is no longer here: held until the call is back.
        let mut current: Option<Arc<Generation>> = None;
        loop {
            let target = current.as_ref().map_or(self, |current| &current.target);
            // Relaxed is enough: a thread only asks whether it has closed the gate itself, or the thread has that waits for it.
            let closed_by = target.gated_instance.closed_by.load(Ordering::Relaxed);
            if closed_by != 0 && (closed_by == this_thread() || closed_by == waiting_thread()) {
                target.call_stats.counts().failed();
                return Err(CallError::new(&target.slot, target.number, method, Fault::HandingOver));
            }
            let entered = match INSIDE.get() {
                0 => target.gated_instance.gate.read(),
                _ => target.gated_instance.gate.read_recursive(),
            };
            if target.moved.load(Ordering::Acquire) {
                drop(entered);
                match target.forward.current_for(target) {
                    Ok(next) => current = Some(next),
                    Err(fault) => {
                        target.call_stats.counts().failed();
                        return Err(CallError::new(&target.slot, target.number, method, fault));
                    }
                }
                continue;
            }
            if target.call_stats.is_dead() {
                target.call_stats.counts().failed();
                return Err(CallError::new(
                    &target.slot,
                    target.number,
                    method,
                    target.call_stats.why_dead(),
                ));
            }
            if let Some(current) = &current {
                self.keep_lender(current, method);
            }
            let _inside = Inside::enter();
            let _counted = target.call_stats.enters(method);
            body(target.data, target.table, target);
            return Ok(());
        }
    }
}

/// The callee for slots that are not in a view: every call is an error.
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
