//! Going back by hand, and what is kept for it: the embedder's side of `reload/rollback.rs`, `reload/go_back.rs` and the history.

use super::{Claim, Host, SyncOutcome};
use crate::{
    event::Log,
    history::{History, HistoryEntry, VersionStatus},
    reload::{self, Confirmation, LoadOutcome, ManualRollback, ReloadMessage},
    runtime::{Runtime, Storage},
    slot::SlotRecord,
};
use reslot_artifact::{ContentHash, HashPrefix};
use reslot_plugin_api::Interface;
use reslot_process::safe_point;
use reslot_report::{Event, HistoryError, Refusal, RollbackReason, SlotError};
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, mpsc},
};

/// Which version a slot is to go back to.
///
/// ```
/// use reslot::{Host, RollbackTarget};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// # let new_build = plugins.new_build("pricer");
/// host.load(new_build)?;
/// let versions = host.history("pricer"); // newest first
/// assert_eq!(versions.len(), 2);
/// host.rollback("pricer", RollbackTarget::Previous)?;
/// assert_eq!(host.slots().iter().find(|slot| slot.name == "pricer").and_then(|slot| slot.hash), Some(versions[1].hash));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollbackTarget {
    /// The one before the current generation.
    Previous,
    /// This one, of those that [`Host::history`] lists.
    Hash(ContentHash),
    /// The one whose hash begins with these digits, which a person has typed: `RollbackTarget::Prefix(typed.parse()?)`.
    Prefix(HashPrefix),
}

/// Why a slot did not go back. It serves on with what it has.
///
/// ```
/// use reslot::{Host, RollbackError, RollbackTarget};
///
/// # let plugins = example_plugins::folder();
/// let host = Host::builder().watch(&plugins).build()?;
/// let typed = "0123".parse()?;
/// let error = host.rollback("pricer", RollbackTarget::Prefix(typed)).unwrap_err();
/// assert!(matches!(error, RollbackError::Version { found: 0, .. }));
/// assert!(error.to_string().contains("no kept version begins with \"0123\""));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RollbackError {
    /// There is no such slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// No version that is kept begins with these digits, or several do.
    #[error("slot {slot:?}: {}", NoVersion(*.prefix, *.found, .known))]
    Version {
        /// The slot.
        slot: String,
        /// What was asked for; none for the version before the current generation.
        prefix: Option<HashPrefix>,
        /// How many there are.
        found: usize,
        /// The hashes of those that can be gone back to, newest first.
        known: Vec<ContentHash>,
    },
    /// The version could not be loaded, or there is none.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What is kept of the version could not be read.
    #[error(transparent)]
    History(#[from] HistoryError),
}

struct NoVersion<'a>(Option<HashPrefix>, usize, &'a [ContentHash]);

impl fmt::Display for NoVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(prefix, found, known) = self;
        match (*found, prefix) {
            (_, None) => write!(f, "no version before what serves is kept")?,
            (0, Some(prefix)) => write!(f, "no kept version begins with \"{prefix}\"")?,
            (many, Some(prefix)) => write!(f, "{many} kept versions begin with \"{prefix}\"; say more digits")?,
        }
        match known {
            [] => write!(f, "; none is kept for this slot"),
            known => {
                let written: Vec<_> = known.iter().map(ContentHash::to_string).collect();
                write!(f, "; kept are: {}", written.join(", "))
            }
        }
    }
}

impl Host {
    /// Has a slot go back to an earlier version, with the state that [`Policy::rollback_state`](crate::Policy::rollback_state) says.
    /// Waits for what becomes of it; a claimed slot's owner goes back at his next `sync`, which is answered with
    /// [`LoadOutcome::Staged`]. The owner himself asks with [`Claim::rollback`], which does both.
    ///
    /// If that version is current already, this does nothing, and answers [`LoadOutcome::Unchanged`].
    ///
    /// What is left is not taken again by itself, also if it is published again, until [`load`](Self::load) asks for it by name.
    ///
    /// # Errors
    /// If there is no such slot or version, or the version cannot be loaded any more; the slot keeps what it has.
    pub fn rollback(&self, slot: &str, to: RollbackTarget) -> Result<LoadOutcome, RollbackError> {
        rollback(&self.inner, slot, to, None)
    }

    /// Ends the probation of a slot's current generation, as if it had proved itself: for whoever has other ways of knowing. Answers whether
    /// it did so: `false` if the current generation is not on probation, or if its owner is about to roll it back because somebody asked for
    /// that.
    ///
    /// # Errors
    /// If there is no such slot.
    pub fn confirm(&self, slot: &str) -> Result<bool, SlotError> {
        confirm(&self.inner, slot)
    }

    /// The versions of a slot that are known, newest first: what can be gone back to, and what was gone back from. In a forked child: none.
    pub fn history(&self, slot: &str) -> Vec<HistoryEntry> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        self.inner.storage.history.entries(slot)
    }

    /// The bytes of a version that is kept, by its hash or the first digits of it: to run it beside the current generation, in another host.
    ///
    /// # Errors
    /// If there is no such slot or version, or its file is not what was kept. Versions that were left as faulty are not kept.
    pub fn artifact(&self, slot: &str, version: impl Into<HashPrefix>) -> Result<Vec<u8>, RollbackError> {
        let record = self.inner.slots.serving(slot)?;
        let hash = kept_version(&self.inner.storage.history, &record, version.into())?;
        Ok(self.inner.storage.history.read(slot, &hash)?.bytes)
    }
}

impl<I: ?Sized + Interface> Claim<I> {
    /// The owner goes back to an earlier version, here and now: as [`Host::rollback`] and [`sync`](Self::sync) after it.
    ///
    /// If that version stands by, it takes microseconds. If not, it is loaded from what is kept, which takes as long as a reload does; a
    /// build that is being prepared at this moment comes first, and what its preflight wants of the owner (the state) it is given
    /// meanwhile.
    ///
    /// A newer build that waits for [`sync`](Self::sync) is not adopted any more. Answers [`SyncOutcome::Unchanged`] if that version is current
    /// already, and [`SyncOutcome::Refused`] if it could not be loaded or did not start: then the current generation keeps serving, and a later
    /// `sync` rolls back if the history has another version.
    ///
    /// # Errors
    /// As for [`Host::rollback`]; the slot keeps what it has.
    pub fn rollback(this: &mut Self, to: RollbackTarget) -> Result<SyncOutcome, RollbackError> {
        let (host, record, serving) = this.parts();
        let answer = || {
            if let Some(serving) = serving {
                reload::answer_for_claim(&host.hooks, record, serving);
            }
        };
        let asked = rollback(host, &record.name, to, Some(&answer))?;
        Ok(match (asked, Self::sync(this)) {
            (LoadOutcome::Unchanged { .. }, synced) => synced,
            // What stood by could not be had any more. The host looks for what is kept, and a later `sync` may go back to that.
            (_, SyncOutcome::Unchanged) => SyncOutcome::Refused {
                serving: Self::generation(this),
            },
            (_, synced) => synced,
        })
    }
}

/// As [`Host::rollback`]. `meanwhile` is called again and again while this waits: a claim's owner answers requests for his state there.
pub(super) fn rollback(
    host: &Arc<Runtime>,
    slot: &str,
    to: RollbackTarget,
    meanwhile: Option<&dyn Fn()>,
) -> Result<LoadOutcome, RollbackError> {
    safe_point();
    let record = host.slots.serving(slot)?;
    let request = match to {
        RollbackTarget::Previous => None,
        RollbackTarget::Hash(hash) => Some(kept_version(&host.storage.history, &record, hash.into())?),
        RollbackTarget::Prefix(prefix) => Some(kept_version(&host.storage.history, &record, prefix)?),
    };
    let from = match go_back_to_standby(host, &record, request.as_ref()) {
        WayBack::Done(outcome) => return Ok(outcome),
        WayBack::History { from } => from,
    };
    let message = |answer| ReloadMessage::GoBack {
        record,
        from,
        to: request,
        reason: RollbackReason::Manual,
        answer: Some(answer),
    };
    let outcome: Result<_, Refusal> = host.threads.ask_reload_and(PathBuf::new(), message, meanwhile);
    Ok(outcome?)
}

/// As [`Host::confirm`].
pub(super) fn confirm(host: &Arc<Runtime>, slot: &str) -> Result<bool, SlotError> {
    safe_point();
    let record = host.slots.serving(slot)?;
    loop {
        let serving = {
            let state = record.lock_settled();
            let on_probation = state.serving().filter(|_| state.probation.is_some());
            on_probation.map(|generation| generation.number())
        };
        let Some(serving) = serving else { return Ok(false) };
        match reload::confirm(host, &record, serving) {
            Confirmation::Confirmed => return Ok(true),
            Confirmation::RollbackRequested => return Ok(false),
            // It moves on at this moment, or has done so since: what serves then is asked about.
            Confirmation::Moving(other) => drop(other.lock_settled()),
            Confirmation::NotServing => {}
        }
    }
}

/// The one good version that is kept whose hash begins so.
pub(super) fn kept_version(
    history: &History,
    record: &SlotRecord,
    prefix: HashPrefix,
) -> Result<ContentHash, RollbackError> {
    let known = good_versions(history, record);
    let found: Vec<_> = known.iter().filter(|known| prefix.is_prefix_of(known)).collect();
    match &found[..] {
        [one] => Ok(**one),
        found => Err(RollbackError::Version {
            slot: record.name.to_string(),
            prefix: Some(prefix),
            found: found.len(),
            known: known.clone(),
        }),
    }
}

/// The newest good version that is kept and older than the current generation. Newer entries belong to builds that are still being loaded.
pub(super) fn version_before(history: &History, record: &SlotRecord) -> Result<ContentHash, RollbackError> {
    let serving = record.lock().current().map(|current| current.hash);
    let known = good_versions(history, record);
    let at = known.iter().position(|hash| Some(*hash) == serving);
    match known.get(at.map_or(0, |at| at + 1)) {
        Some(before) => Ok(*before),
        None => Err(RollbackError::Version {
            slot: record.name.to_string(),
            prefix: None,
            found: 0,
            known,
        }),
    }
}

/// The hashes of those that can be gone back to, newest first.
fn good_versions(history: &History, record: &SlotRecord) -> Vec<ContentHash> {
    let entries = history.entries(&record.name).into_iter();
    let good = entries.filter(|kept| !matches!(kept.condition, VersionStatus::KnownBad(_)));
    good.map(|kept| kept.hash).collect()
}

/// Goes back to the standby, if that is the version that was asked for. An open slot goes at once, a claimed one in its owner's `sync`.
fn go_back_to_standby(host: &Arc<Runtime>, record: &Arc<SlotRecord>, request: Option<&ContentHash>) -> WayBack {
    let mut asked: Option<ManualRollback> = None;
    loop {
        let mut state = record.lock_settled();
        let Some(current) = state.current() else {
            return WayBack::History { from: None };
        };
        let (serving, slot) = (current.generation.number(), record.name.clone());
        // It serves already, perhaps because another thread was faster.
        if request == Some(&current.hash) || asked.is_some_and(|asked| asked.to == serving) {
            let generation = serving;
            return WayBack::Done(LoadOutcome::Unchanged { slot, generation });
        }
        // The standby did not fit, or one of its hooks hangs. In the second case the reload thread was asked to go on already, but not to a
        // version that somebody wants.
        if asked.is_some_and(|asked| asked.from == serving) && state.standby().is_none() {
            let from = request.is_none().then_some(serving);
            return WayBack::History { from };
        }
        let standby = match state.standby() {
            Some(standby) if request.is_none_or(|request| standby.current.hash == *request) => standby,
            _ => return WayBack::History { from: None },
        };
        let generation = standby.current.generation.number();
        if state.is_claimed() {
            if state.adopting {
                // The adoption would drop the request.
                drop(state);
                record.wait_until_adopted();
                continue;
            }
            if let Some(probation) = state.probation.as_mut() {
                probation.forced = Some(RollbackReason::Manual);
            }
            record.signals.request_safe_point();
            return WayBack::Done(LoadOutcome::Staged { slot, generation });
        }
        drop(state);
        let manual = ManualRollback {
            from: serving,
            to: generation,
        };
        if let Some(report) = reload::roll_back_open(host, record, Some(manual)) {
            return WayBack::Done(LoadOutcome::RolledBack(report));
        }
        // The supervisor was faster, or something newer serves, or an owner has claimed the slot, or the standby is gone: see which.
        asked = Some(manual);
    }
}

/// Where a requested rollback leads.
enum WayBack {
    /// To the standby; that was done.
    Done(LoadOutcome),
    /// To a version that the history keeps; if the standby was lost on the way, only while this generation still serves.
    History { from: Option<u64> },
}

/// When the host starts: if the last one ended while a version was on probation, marks that version as bad, provided that an older good one is kept.
/// Answers those slots.
pub(super) fn revert_unconfirmed(storage: &Storage, log: &Log) -> Vec<Arc<str>> {
    let mut reverted = Vec::new();
    for slot in storage.history.slots() {
        let Some(hash) = storage.history.unconfirmed(&slot) else {
            continue;
        };
        let slot: Arc<str> = slot.into();
        let (good, passed_over) = storage.history.good_before(&slot, Some(&hash), false);
        for error in passed_over {
            storage.report_history_error(&slot, Err(error));
        }
        if good.is_some() {
            let why = "it had not proved itself when the host ended";
            storage.report_history_error(&slot, storage.history.mark_bad(&slot, &hash, why));
            reverted.push(slot.clone());
        }
        log.push(Event::Reverted {
            slot,
            from: hash,
            to: good.map(|(hash, _)| hash),
        });
    }
    reverted
}

/// When the host starts: a slot whose published artifact cannot be taken gets the last good one that was kept.
pub(super) fn load_instead(host: &Runtime, reverted: &[Arc<str>], refusals: &[Refusal]) {
    let refused = |slot: &Arc<str>| {
        refusals.iter().any(|refusal| match &refusal.slot {
            Some(of) => of == slot,
            // It never said its name: then it is for the slot that was published under its name before.
            None => host.storage.history.slots_from(&refusal.path).iter().any(|of| **of == **slot),
        })
    };
    let mut slots: Vec<_> = host.storage.history.slots().into_iter().map(Arc::<str>::from).collect();
    // Without slots that `HostBuilder::instances` no longer uses.
    slots.retain(|slot| !host.slots.instances().leaves_out(slot));
    slots.retain(|slot| reverted.contains(slot) || refused(slot));
    for slot in slots {
        let record = host.slots.named_or_new(&slot);
        if record.lock().current().is_some() {
            continue;
        }
        let (answer, outcome) = mpsc::channel();
        host.threads.tell_reload(ReloadMessage::GoBack {
            record,
            from: None,
            to: None,
            reason: RollbackReason::Restarted,
            answer: Some(answer),
        });
        // What became of it is told by an event.
        let _ = outcome.recv();
    }
}
