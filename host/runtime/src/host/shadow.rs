//! Shadows, the embedder's side of `reload/shadow.rs`: of what he owns, and of what is open.

use super::{Host, Inner, RollbackError, RollbackTarget};
use crate::{
    reload::{self, ShadowOf},
    slot::{Claim, Generation, Mode, Shadow, SlotRecord},
};
use reslot_plugin_api::Interface;
use reslot_process::safe_point;
use reslot_report::{Cause, Refusal, SlotError};
use std::{path::PathBuf, sync::Arc};

impl Host {
    /// Runs a build beside what serves in an open slot, with a copy of its state; see [`Shadow`]. A claimed slot's owner asks his
    /// [claim](Claim::shadow).
    ///
    /// Calls into the slot go on meanwhile, if many threads call it; which of them the copy has seen is not defined.
    ///
    /// # Errors
    /// If there is no such slot, it has another interface, or it is claimed; or if the build is refused, as a reload would refuse it.
    pub fn shadow<I: ?Sized + Interface>(&self, slot: &str, path: impl Into<PathBuf>) -> Result<Shadow<I>, RollbackError> {
        safe_point();
        let record = self.inner.known(slot)?;
        let mut state = record.lock_settled();
        if state.mode == Mode::Claimed {
            return Err(SlotError::Claimed { name: slot.to_owned() }.into());
        }
        self.bind::<I>(slot, &mut state)?;
        drop(state);
        let state = reload::state_of_open(&self.inner, &record);
        Ok(make(&self.inner, &record, ShadowOf::File(path.into()), state)?)
    }
}

impl<I: ?Sized + Interface> Claim<I> {
    /// Runs a build beside what this claim calls, with a copy of its state as it is now; see [`Shadow`]. What serves, and what waits
    /// for [`sync`](Self::sync), is not touched. (Not a method, as with `Arc`: it must not hide one of the interface's.)
    ///
    /// Waits for as long as a reload takes up to `init`: between two events, not within a deadline.
    ///
    /// # Errors
    /// If the build is refused, as a reload would refuse it, also for being another slot's; the error says which file, at which
    /// step, why, and what to do. It is told by [`Event::Refused`](crate::Event::Refused) as well.
    pub fn shadow(this: &Self, path: impl Into<PathBuf>) -> Result<Shadow<I>, Refusal> {
        let (host, record, serving) = this.parts();
        shadow_of_claim(host, record, serving, ShadowOf::File(path.into()))
    }

    /// The same with a version that was kept, to see what the old rules would have done.
    ///
    /// # Errors
    /// As for [`shadow`](Self::shadow), and if there is no such version.
    pub fn shadow_kept(this: &Self, version: RollbackTarget) -> Result<Shadow<I>, RollbackError> {
        let (host, record, serving) = this.parts();
        if host.process.is_another() {
            return Err(host.unknown(&record.name).into());
        }
        let version = match version {
            RollbackTarget::Previous => host.version_before(record)?,
            RollbackTarget::Hash(hash) => host.version(record, hash)?,
        };
        Ok(shadow_of_claim(host, record, serving, ShadowOf::Archived(version))?)
    }
}

fn shadow_of_claim<I: ?Sized + Interface>(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    serving: Option<&Arc<Generation>>,
    of: ShadowOf,
) -> Result<Shadow<I>, Refusal> {
    if host.process.is_another() {
        let path = match of {
            ShadowOf::File(path) => path,
            ShadowOf::Archived(_) => PathBuf::new(),
        };
        return Err(Refusal::before_it_was_read(path, Cause::ForkedProcess));
    }
    safe_point();
    let state = reload::state_for_owner(host, serving);
    make(host, record, of, state)
}

fn make<I: ?Sized + Interface>(
    host: &Arc<Inner>,
    record: &Arc<SlotRecord>,
    of: ShadowOf,
    state: Result<Option<reload::Serving>, Cause>,
) -> Result<Shadow<I>, Refusal> {
    let (apart, generation) = reload::shadow(host, record, of, state)?;
    Ok(Shadow::new(apart, generation, host.clone()))
}
