//! Manual rollbacks, and access to the history: the embedder's side of `reload/rollback.rs`, `reload/go_back.rs` and the
//! history.

use super::{Claim, Host, SyncOutcome};
use crate::{
    event::Log,
    history::{History, HistoryEntry, VersionStatus},
    reload::{self, Confirmation, LoadOutcome, ManualRollback, ReloadMessage},
    runtime::{Runtime, Storage},
    slot::{PendingRollback, SlotRecord},
};
use reslot_artifact::{ContentHash, HashPrefix};
use reslot_plugin_api::Interface;
use reslot_report::{Event, HistoryError, Refusal, RollbackReason, SlotError};
use reslot_sync::mpsc;
use reslot_system::{
    hooks::{this_thread, waiting_thread},
    safe_point,
};
use std::{fmt, path::PathBuf, sync::Arc};

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
    /// The version with this hash, from the list of [`Host::history`], or the one that is linked into the program.
    Hash(ContentHash),
    /// The version whose hash begins with these digits, as typed by a person: `RollbackTarget::Prefix(typed.parse()?)`.
    Prefix(HashPrefix),
}

/// Why a slot was not rolled back. It keeps its current generation.
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
    /// The slot does not exist.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// No hash in the history begins with these digits, or several do.
    #[error("slot {slot:?}: {}", NoVersion(*.prefix, *.found, .known))]
    Version {
        /// The slot.
        slot: String,
        /// What was asked for; none for the version before the current generation.
        prefix: Option<HashPrefix>,
        /// The number of matching versions.
        found: usize,
        /// The hashes of the versions that a rollback can restore, newest first.
        known: Vec<ContentHash>,
    },
    /// The version could not be loaded, or does not exist.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stored version could not be read.
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
    /// Rolls a slot back to an earlier version, with the state that
    /// [`Policy::rollback_state`](crate::Policy::rollback_state) selects, and waits for the outcome. For a claimed slot it
    /// returns [`LoadOutcome::Staged`], and the owner's next `sync` performs the rollback. The owner can use
    /// [`Claim::rollback`], which does both.
    ///
    /// If that version is current already, this answers [`LoadOutcome::Unchanged`], and does nothing but withdraw an earlier
    /// request for the standby that waits for the owner. Of several requests the last one counts.
    ///
    /// A request that comes while the owner adopts something waits until that is done. It does not wait on the owner's own
    /// thread or on one of the host's threads for hooks, as when a `tracing` subscriber asks: there the answer is
    /// [`LoadOutcome::Staged`] at once, and the version that was asked for is staged again from the history if the owner has
    /// adopted a newer one by then.
    ///
    /// The host does not load the version that was rolled back by itself, even if it is published again; only
    /// [`load`](Self::load) loads it.
    ///
    /// # Errors
    /// If the slot or the version does not exist, or the version cannot be loaded any more; the current generation keeps
    /// serving.
    pub fn rollback(&self, slot: &str, to: RollbackTarget) -> Result<LoadOutcome, RollbackError> {
        rollback(&self.inner, slot, to, None)
    }

    /// Ends the probation of a slot's current generation as passed, for programs with their own criteria. Returns whether it
    /// did: `false` if the current generation is not on probation, or if its owner is about to perform a requested rollback.
    ///
    /// # Errors
    /// If the slot does not exist.
    pub fn confirm(&self, slot: &str) -> Result<bool, SlotError> {
        confirm(&self.inner, slot)
    }

    /// The known versions of a slot, newest first: those that a rollback can restore, and those that were rolled back. Empty
    /// in a forked child.
    pub fn history(&self, slot: &str) -> Vec<HistoryEntry> {
        if self.inner.process.is_another() {
            return Vec::new();
        }
        self.inner.storage.history.entries(slot)
    }

    /// The bytes of a version that is kept, by its hash or the first digits of it: to run it beside the current generation, in another host. The
    /// slot may be empty.
    ///
    /// # Errors
    /// If the slot or the version does not exist, or its file has changed. The history does not keep the bytes of faulty
    /// versions.
    pub fn artifact(&self, slot: &str, version: impl Into<HashPrefix>) -> Result<Vec<u8>, RollbackError> {
        // In a forked child another thread may have held the history's lock for ever.
        if self.inner.process.is_another() {
            return Err(self.inner.slots.why_not(slot).into());
        }
        let history = &self.inner.storage.history;
        if self.inner.slots.named(slot).is_none() && history.entries(slot).is_empty() {
            return Err(self.inner.slots.why_not(slot).into());
        }
        let hash = kept_version(history, slot, version.into())?;
        Ok(self.inner.storage.history.read(slot, &hash)?.bytes)
    }
}

impl<I: ?Sized + Interface> Claim<I> {
    /// Rolls back to an earlier version at once, as [`Host::rollback`] followed by [`sync`](Self::sync).
    ///
    /// If that version is the standby, this takes microseconds. Otherwise the host loads it from the history, which takes as
    /// long as a reload; a build that is being prepared at this moment is finished first, and this call meanwhile answers
    /// its preflight's request for the state.
    ///
    /// A newer build that waits for [`sync`](Self::sync) is not adopted any more. Answers [`SyncOutcome::Unchanged`] if that version is current
    /// already, and [`SyncOutcome::Refused`] if it could not be loaded or did not start: then the current generation keeps serving, and a later
    /// `sync` rolls back if the history has another version.
    ///
    /// # Errors
    /// As for [`Host::rollback`]; the current generation keeps serving.
    pub fn rollback(this: &mut Self, to: RollbackTarget) -> Result<SyncOutcome, RollbackError> {
        let (host, record, serving) = this.parts();
        let answer = || {
            if let Some(serving) = serving {
                reload::answer_for_claim(&host.hooks, record, serving);
            }
        };
        let asked = rollback(host, &record.name, to, Some(&answer))?;
        if let LoadOutcome::Unchanged { .. } = asked {
            reload::discard_staged(&host.storage.history, &host.log, record);
            return Ok(SyncOutcome::Unchanged);
        }
        Ok(match Self::sync(this) {
            // The standby was not available any more. The host searches the history, and a later `sync` may roll back to a
            // version from there.
            SyncOutcome::Unchanged => SyncOutcome::Refused {
                serving: Self::generation(this),
            },
            synced => synced,
        })
    }
}

/// As [`Host::rollback`]. While it waits, it calls `meanwhile` repeatedly: there a claim's owner answers requests for the
/// state.
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
        RollbackTarget::Hash(hash) => Some(restorable_version(host, &record, hash.into())?),
        RollbackTarget::Prefix(prefix) => Some(restorable_version(host, &record, prefix)?),
    };
    let from = match go_back_to_standby(host, &record, request.as_ref()) {
        StandbyRollback::Done(outcome) => return Ok(outcome),
        StandbyRollback::History { from } => from,
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

/// The only good version in the history whose hash begins with this prefix.
pub(super) fn kept_version(history: &History, slot: &str, prefix: HashPrefix) -> Result<ContentHash, RollbackError> {
    only_one(slot, good_versions(history, slot), prefix)
}

/// The same among all versions that a rollback can restore. The standby is already loaded, and the plugin that is linked into the program
/// has no entry in the history.
fn restorable_version(host: &Runtime, record: &SlotRecord, prefix: HashPrefix) -> Result<ContentHash, RollbackError> {
    let history = &host.storage.history;
    let mut known = good_versions(history, &record.name);
    let standby = record.lock_replaceable().standby().map(|standby| standby.current.hash);
    let linked = reload::linked_for(host, record).map(|linked| linked.hash);
    for hash in standby.into_iter().chain(linked) {
        if !known.contains(&hash) && history.known_bad(&record.name, &hash).is_none() {
            known.push(hash);
        }
    }
    only_one(&record.name, known, prefix)
}

/// The only one of these versions whose hash begins with this prefix.
fn only_one(slot: &str, known: Vec<ContentHash>, prefix: HashPrefix) -> Result<ContentHash, RollbackError> {
    let found: Vec<_> = known.iter().filter(|known| prefix.is_prefix_of(known)).collect();
    match &found[..] {
        [one] => Ok(**one),
        found => Err(RollbackError::Version {
            slot: slot.to_owned(),
            prefix: Some(prefix),
            found: found.len(),
            known: known.clone(),
        }),
    }
}

/// The newest good version that is kept and older than the current generation. Newer entries belong to builds that are still being loaded.
pub(super) fn version_before(history: &History, record: &SlotRecord) -> Result<ContentHash, RollbackError> {
    let serving = record.lock().current().map(|current| current.hash);
    let known = good_versions(history, &record.name);
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

/// The hashes of the versions that a rollback can restore, newest first.
fn good_versions(history: &History, slot: &str) -> Vec<ContentHash> {
    let entries = history.entries(slot).into_iter();
    let good = entries.filter(|kept| !matches!(kept.condition, VersionStatus::KnownBad(_)));
    good.map(|kept| kept.hash).collect()
}

/// Rolls back to the standby, if it is the requested version. An open slot is rolled back at once, a claimed one in its
/// owner's `sync`.
fn go_back_to_standby(host: &Arc<Runtime>, record: &Arc<SlotRecord>, request: Option<&ContentHash>) -> StandbyRollback {
    let mut asked: Option<ManualRollback> = None;
    loop {
        let mut state = record.lock_replaceable();
        let Some(current) = state.current() else {
            return StandbyRollback::History { from: None };
        };
        let (serving, slot) = (current.generation.number(), record.name.clone());
        // It serves already, perhaps because another thread was faster.
        if request == Some(&current.hash) {
            // The last request counts, so an earlier one that waits for the owner is withdrawn.
            state.withdraw_rollback();
            return StandbyRollback::Done(LoadOutcome::Unchanged {
                slot,
                generation: serving,
            });
        }
        if asked.is_some_and(|asked| asked.to == serving) {
            let generation = serving;
            return StandbyRollback::Done(LoadOutcome::Unchanged { slot, generation });
        }
        // The standby did not fit, or one of its hooks hangs. In the second case the reload thread was asked to go on already, but not to a
        // version that somebody wants.
        if asked.is_some_and(|asked| asked.from == serving) && state.standby().is_none() {
            let from = request.is_none().then_some(serving);
            return StandbyRollback::History { from };
        }
        let standby = match state.standby() {
            Some(standby) if request.is_none_or(|request| standby.current.hash == *request) => standby,
            _ => return StandbyRollback::History { from: None },
        };
        let generation = standby.current.generation.number();
        if state.is_claimed() {
            if let Some(owner) = state.adopting() {
                // The adoption would drop the request. It waits for this thread if that is the owner's, or runs a hook for it, as when an
                // embedder's subscriber asks: then the request is done afterwards.
                let waits_for_this =
                    owner == this_thread() || owner == waiting_thread() || host.hooks.pool().is_own_thread();
                if waits_for_this {
                    let to = standby.current.hash;
                    state.rollback_after_adoption = Some(PendingRollback { from: serving, to });
                    return StandbyRollback::Done(LoadOutcome::Staged { slot, generation });
                }
                drop(state);
                record.wait_until_adopted();
                continue;
            }
            if let Some(probation) = state.probation.as_mut() {
                probation.forced = Some(RollbackReason::Manual);
            }
            record.signals.request_safe_point();
            return StandbyRollback::Done(LoadOutcome::Staged { slot, generation });
        }
        drop(state);
        let manual = ManualRollback {
            from: serving,
            to: generation,
        };
        if let Some(report) = reload::roll_back_open(host, record, Some(manual)) {
            return StandbyRollback::Done(LoadOutcome::RolledBack(report));
        }
        // The supervisor was faster, or something newer serves, or an owner has claimed the slot, or the standby is gone: see which.
        asked = Some(manual);
    }
}

/// The next step of a requested rollback.
enum StandbyRollback {
    /// The rollback to the standby is done.
    Done(LoadOutcome),
    /// Load a version from the history. If the standby was lost meanwhile, do so only while generation `from` is current.
    History { from: Option<u64> },
}

/// At the host's start: marks versions as bad that were on probation when the last host ended, if the history has an older
/// good version. Returns their slots.
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
            let why = "it had not passed its probation when the host ended";
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

/// At the host's start: a slot whose published artifact is refused gets its last good version from the history.
pub(super) fn load_instead(host: &Runtime, reverted: &[Arc<str>], refusals: &[Refusal]) {
    let refused = |slot: &Arc<str>| {
        refusals.iter().any(|refusal| match &refusal.slot {
            Some(of) => of == slot,
            // A file that does not name its plugin belongs to the slot whose last good version was published under the same
            // path.
            None => host.storage.history.slots_from(&refusal.path).iter().any(|of| **of == **slot),
        })
    };
    let mut slots: Vec<_> = host.storage.history.slots().into_iter().map(Arc::<str>::from).collect();
    // Skip slots that `HostBuilder::instances` no longer lists.
    slots.retain(|slot| !host.slots.instances().leaves_out(slot));
    slots.retain(|slot| reverted.contains(slot) || refused(slot));
    for slot in slots {
        let record = host.slots.named_or_new(&slot);
        if record.lock().current().is_some() {
            continue;
        }
        let (answer, outcome) = mpsc::channel();
        host.threads.send_to_reload(ReloadMessage::GoBack {
            record,
            from: None,
            to: None,
            reason: RollbackReason::Restarted,
            answer: Some(answer),
        });
        // An event reports the outcome.
        let _ = outcome.recv();
    }
}
