//! What the calls of a generation have shown since it was published: the panics that callers met and, while it is on probation and the
//! policy asks for it, how many calls there were and how long each takes. Callers' threads write it; `slot/probation.rs` judges by it.

use super::{
    counts::CallCounts,
    messages::{InstanceId, SupervisorMessage},
    signals::OwnerSignals,
};
use reslot_plugin_api::{CallError, Fault, InstanceEnd};
use reslot_sync::{
    Instant, Mutex,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    mpsc::Sender,
};
use reslot_system::awake::awake_between;
use std::{sync::Arc, time::Duration};

/// Which facts about the calls into a generation are recorded, and which thread is notified.
#[derive(Clone)]
pub(crate) struct Watching {
    pub(crate) supervisor: Sender<SupervisorMessage>,
    /// Whether calls have to be counted one by one while it is on probation.
    pub(crate) count: bool,
    /// Whether they are counted for as long as it serves, for the slot.
    pub(crate) count_all: bool,
    /// How long a call may take while it is on probation.
    pub(crate) call_deadline: Option<Duration>,
}

/// Call statistics of an instance since it was published: panics and, on probation, number and duration of calls.
pub(crate) struct CallStats {
    id: InstanceId,
    slot: Arc<str>,
    number: u64,
    signals: Arc<OwnerSignals>,
    counts: Arc<CallCounts>,
    watching: Watching,
    on_probation: AtomicBool,
    /// No call may enter any more: a hook hangs, or it was unloaded.
    dead: AtomicBool,
    /// It may not be called because it was unloaded.
    unloaded: AtomicBool,
    panics: AtomicU32,
    calls: AtomicU64,
    last_panic: Mutex<Option<CallError>>,
    /// How its instance has ended, if it was a remote one.
    end: Mutex<Option<InstanceEnd>>,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    last_number: u64,
    calls: Vec<(u64, &'static str, Instant)>,
    /// When the probation began. Calls that went in before are not judged.
    probation_since: Option<Instant>,
    /// The first call that took too long.
    overdue: Option<Overdue>,
}

/// A call that takes too long, or took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overdue {
    pub(crate) method: &'static str,
    pub(crate) running: Duration,
}

impl CallStats {
    pub(crate) fn new(
        slot: Arc<str>,
        number: u64,
        signals: Arc<OwnerSignals>,
        counts: Arc<CallCounts>,
        watching: Watching,
    ) -> Self {
        Self {
            id: InstanceId::new(),
            slot,
            number,
            signals,
            counts,
            watching,
            on_probation: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            unloaded: AtomicBool::new(false),
            panics: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            last_panic: Mutex::default(),
            end: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// For another instance of the same generation, of which nothing is known yet.
    pub(super) fn for_second_instance(&self) -> Self {
        Self::new(
            self.slot.clone(),
            self.number,
            self.signals.clone(),
            self.counts.clone(),
            self.watching.clone(),
        )
    }

    pub(crate) fn id(&self) -> InstanceId {
        self.id
    }

    /// It serves from now on, and is judged by what comes.
    pub(crate) fn begin_probation(&self) {
        self.panics.store(0, Ordering::Relaxed);
        self.calls.store(0, Ordering::Relaxed);
        {
            let mut running = self.running.lock();
            running.overdue = None;
            running.probation_since = Some(Instant::now());
        }
        self.on_probation.store(true, Ordering::Release);
    }

    pub(crate) fn end_probation(&self) {
        self.on_probation.store(false, Ordering::Release);
    }

    /// From here on nothing may be called in it. Set while its gate is closed.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// It is being unloaded: from here on nothing may be called in it. Set while its gate is closed, unless somebody is inside for good.
    pub(crate) fn unload(&self) {
        self.unloaded.store(true, Ordering::Release);
        self.die();
    }

    /// Why it may not be called.
    pub(super) fn why_dead(&self) -> Fault {
        match self.unloaded.load(Ordering::Acquire) {
            true => Fault::Unloaded,
            false => Fault::Vacant,
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether calls take the dearer way, on which they are counted and timed.
    pub(crate) fn is_watched(&self) -> bool {
        self.watching.count_all || self.is_judged_by_calls()
    }

    fn is_judged_by_calls(&self) -> bool {
        let judged = self.watching.count || self.watching.call_deadline.is_some();
        judged && self.on_probation.load(Ordering::Acquire)
    }

    /// What is counted of its slot.
    pub(super) fn counts(&self) -> &CallCounts {
        &self.counts
    }

    pub(crate) fn panics(&self) -> u32 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(crate) fn last_panic(&self) -> Option<CallError> {
        self.last_panic.lock().clone()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The plugin panicked in a call. On the thread of the caller, who has not got its error yet.
    #[cold]
    pub(super) fn panicked(&self, error: &CallError) {
        if !self.on_probation.load(Ordering::Acquire) {
            return;
        }
        *self.last_panic.lock() = Some(error.clone());
        self.panics.fetch_add(1, Ordering::Release);
        self.report_fault();
    }

    /// Somebody has met the end of the instance. Answers whether it was the first.
    #[cold]
    pub(super) fn has_ended(&self, end: &InstanceEnd) -> bool {
        let mut known = self.end.lock();
        if known.is_some() {
            return false;
        }
        *known = Some(end.clone());
        drop(known);
        self.report_fault();
        true
    }

    /// How its instance has ended, if somebody has met that.
    pub(crate) fn end(&self) -> Option<InstanceEnd> {
        self.end.lock().clone()
    }

    /// A call goes in. What this answers is dropped when it comes out.
    #[inline]
    pub(super) fn enters(&self, method: &'static str) -> Option<Counted<'_>> {
        if self.watching.count_all {
            self.counts.called();
        }
        if !self.is_judged_by_calls() {
            return None;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let deadline = self.watching.call_deadline?;
        let mut running = self.running.lock();
        running.last_number += 1;
        let number = running.last_number;
        running.calls.push((number, method, Instant::now()));
        Some(Counted {
            call_stats: self,
            number,
            deadline,
        })
    }

    /// The call that has taken too long, also if it is still inside.
    pub(crate) fn overdue(&self) -> Option<Overdue> {
        let deadline = self.watching.call_deadline?;
        let mut running = self.running.lock();
        let judged = running
            .calls
            .iter()
            .filter(|(.., since)| Some(*since) >= running.probation_since);
        let late = judged.map(|(_, method, since)| Overdue {
            method,
            running: awake_between(*since, Instant::now()),
        });
        let late = late.filter(|call| call.running > deadline).max_by_key(|call| call.running);
        running.overdue = running.overdue.or(late);
        running.overdue
    }

    /// Whether a call is inside that went in by this time, and has not taken too long yet.
    pub(crate) fn is_undecided(&self, by: Instant) -> bool {
        let Some(deadline) = self.watching.call_deadline else {
            return false;
        };
        let running = self.running.lock();
        let mut calls = running.calls.iter();
        calls.any(|(.., since)| {
            Some(*since) >= running.probation_since && *since <= by && awake_between(*since, Instant::now()) <= deadline
        })
    }

    fn report_fault(&self) {
        // A claim's owner looks for himself, at his next `sync`.
        self.signals.request_safe_point();
        // Without a supervisor the host is gone.
        let _ = self.watching.supervisor.send(SupervisorMessage::Fault {
            slot: self.slot.clone(),
            number: self.number,
        });
    }
}

/// A call that is inside.
pub(super) struct Counted<'a> {
    call_stats: &'a CallStats,
    number: u64,
    deadline: Duration,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let mut running = self.call_stats.running.lock();
        let Some(at) = running.calls.iter().position(|(number, ..)| *number == self.number) else {
            return;
        };
        let (_, method, since) = running.calls.swap_remove(at);
        let took = since.elapsed();
        // Most calls are quick, and need no look at what the process did meanwhile.
        if took <= self.deadline {
            return;
        }
        let took = awake_between(since, Instant::now());
        if took > self.deadline && Some(since) >= running.probation_since {
            running.overdue.get_or_insert(Overdue { method, running: took });
            drop(running);
            self.call_stats.report_fault();
        }
    }
}
