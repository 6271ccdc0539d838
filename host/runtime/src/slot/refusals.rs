//! Earlier refusals, by content: the host does not try the same bytes again by itself, and a caller who asks for an empty slot gets the
//! reason.

use crate::instances::LoadRequest;
use reslot_artifact::ContentHash;
use reslot_report::{Refusal, Scope};
use reslot_sync::Mutex;
use std::collections::VecDeque;

/// How many refused contents are remembered.
const REMEMBERED: usize = 64;

/// The contents that were refused last, each with its refusal.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<VecDeque<(ContentHash, Refusal)>>);

impl Refusals {
    /// Why a content was refused in a slot before; without a slot, why it was refused for every slot.
    pub(crate) fn of(&self, hash: &ContentHash, slot: Option<&str>) -> Option<Refusal> {
        let refused = self.0.lock();
        let applies = |(known, refusal): &&(ContentHash, Refusal)| {
            let there = slot.is_some_and(|slot| refusal.slot.as_deref() == Some(slot));
            known == hash && (there || refusal.cause.scope() == Scope::Artifact)
        };
        refused.iter().find(applies).map(|(_, refusal)| refusal.clone())
    }

    pub(crate) fn remember(&self, hash: ContentHash, refusal: Refusal) {
        let mut refused = self.0.lock();
        refused.retain(|(known, before)| *known != hash || before.slot != refusal.slot);
        if refused.len() == REMEMBERED {
            refused.pop_front();
        }
        refused.push_back((hash, refusal));
    }

    /// Something else serves in the slot: what was refused because of the generation before may fit now.
    pub(crate) fn forget_those_caused_by_old_generation(&self, slot: &str) {
        self.0
            .lock()
            .retain(|(_, refusal)| refusal.slot.as_deref() != Some(slot) || refusal.cause.scope() != Scope::Serving);
    }

    /// This content is current in the slot, so an earlier refusal of it there is forgotten.
    pub(crate) fn forget_content(&self, slot: &str, hash: &ContentHash) {
        self.0.lock().retain(|(known, refusal)| {
            let there = refusal.slot.as_deref().is_none_or(|of| of == slot);
            known != hash || !(there || refusal.cause.scope() == Scope::Artifact)
        });
    }

    /// The reason for which this file was refused is gone.
    pub(crate) fn forget_file(&self, request: &LoadRequest) {
        self.0.lock().retain(|(_, refusal)| {
            let there = request.slot.is_none() || refusal.slot.is_none() || refusal.slot == request.slot;
            refusal.path != request.path || !there
        });
    }

    /// Those that `concerns` picks, oldest first.
    pub(super) fn those(&self, concerns: impl Fn(&Refusal) -> bool) -> Vec<Refusal> {
        // `concerns` may lock slots, and a thread that has locked a slot may look here.
        let mut refusals: Vec<_> = self.0.lock().iter().map(|(_, refusal)| refusal.clone()).collect();
        refusals.retain(concerns);
        refusals
    }
}
