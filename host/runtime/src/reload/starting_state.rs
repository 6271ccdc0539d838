//! From which state a generation starts: one decision for a reload, for a rollback to the standby, and for a rollback to a version of the
//! history. They differ only in whether an earlier state is known, and where it is.

use super::snapshot::snapshot;
use crate::{
    policy::RollbackState,
    runtime::HookRunner,
    slot::{Access, Generation, SlotRecord, Snapshot},
};
use reslot_engine::hooks::Migrator;
use reslot_report::{Cause, Hook, SavedStateError};
use std::sync::Arc;

/// Where the state from before the current generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlierState {
    /// In the standby's instance.
    InStandby,
    /// It was kept, encoded, when the current generation took it over.
    Kept,
    /// Nowhere: the current generation has passed its probation, or this is no rollback.
    NotKept,
}

/// The state that a generation starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StateSource {
    /// None: there is no state, or the candidate takes none.
    Nothing,
    /// That of the current generation.
    Current {
        /// If it cannot be taken or does not fit, the earlier one.
        or_earlier: bool,
    },
    /// The one from before the current generation.
    Earlier,
}

impl StateSource {
    /// The policy decides only where there is a choice. Without an earlier state the current one is carried over, because otherwise all
    /// state would be lost.
    pub(super) fn decide(policy: RollbackState, current_has_state: bool, takes_state: bool, earlier: EarlierState) -> Self {
        if !takes_state {
            return Self::Nothing;
        }
        match (earlier, current_has_state, policy) {
            (EarlierState::NotKept, true, _) => Self::Current { or_earlier: false },
            (EarlierState::NotKept, false, _) => Self::Nothing,
            (EarlierState::InStandby | EarlierState::Kept, true, RollbackState::KeepCurrent) => {
                Self::Current { or_earlier: true }
            }
            (EarlierState::InStandby | EarlierState::Kept, true, RollbackState::Snapshot)
            | (EarlierState::InStandby | EarlierState::Kept, false, _) => Self::Earlier,
        }
    }
}

/// The state that a candidate starts from.
#[derive(Clone, Default)]
pub(super) struct StartingState {
    /// The current state; or a saved one, if the slot is empty.
    pub(super) current: Option<Arc<Snapshot>>,
    /// The earlier one, in case the current one cannot be taken or does not fit.
    pub(super) earlier: Option<Arc<Snapshot>>,
    /// Why the current one cannot be taken, if it cannot.
    pub(super) why_earlier: Option<String>,
    /// The earlier one was damaged in memory, so the current one is taken.
    pub(super) damaged: Option<SavedStateError>,
    /// The generation whose `migrate` can convert the state to an older schema.
    pub(super) old: Option<Arc<Generation>>,
}

impl StartingState {
    /// **snapshot**: chooses the state of a candidate that replaces `old`. `earlier` is the state that `old` itself had taken over, if this
    /// is a rollback and that state is known.
    ///
    /// # Errors
    /// If the current state cannot be taken, and there is no other.
    pub(super) fn take(
        hooks: &HookRunner,
        record: &Arc<SlotRecord>,
        policy: RollbackState,
        old: Option<&Arc<Generation>>,
        candidate: &Generation,
        access: &Access<'_>,
        earlier: Option<Arc<Snapshot>>,
    ) -> Result<Self, Cause> {
        // If it is only the second choice, it is checked when it is needed: callers wait here.
        let first_choice = earlier.as_ref().filter(|_| policy == RollbackState::Snapshot);
        let damaged = first_choice.and_then(|earlier| earlier.intact().err());
        let earlier = earlier.filter(|_| damaged.is_none());
        let known = match &earlier {
            Some(_) => EarlierState::Kept,
            None => EarlierState::NotKept,
        };
        let source = StateSource::decide(
            policy,
            old.is_some_and(|old| old.instance().has_state()),
            candidate.instance().has_state(),
            known,
        );
        let from = match (source, old) {
            (StateSource::Nothing, _) => Ok(Self::default()),
            (StateSource::Current { or_earlier }, Some(leaving)) => {
                match snapshot(hooks, record, leaving, access.is_owners()) {
                    Ok(current) => Ok(Self {
                        current,
                        earlier,
                        old: old.cloned(),
                        ..Self::default()
                    }),
                    Err(cause) if or_earlier => Ok(Self {
                        current: None,
                        earlier,
                        why_earlier: Some(cause.to_string()),
                        old: old.cloned(),
                        ..Self::default()
                    }),
                    Err(cause) => Err(cause),
                }
            }
            (StateSource::Current { .. } | StateSource::Earlier, _) => Ok(Self {
                earlier,
                old: old.cloned(),
                ..Self::default()
            }),
        };
        from.map(|from| Self { damaged, ..from })
    }

    /// The state that is tried first.
    pub(super) fn first(&self) -> Option<Arc<Snapshot>> {
        self.current.clone().or_else(|| self.earlier.clone())
    }

    /// Whether the generation that has written one of the states migrates it for the candidate.
    pub(super) fn needs_writer(&self, candidate: &Generation) -> bool {
        let Some(own) = candidate.instance().schema() else {
            return false;
        };
        let states = [&self.current, &self.earlier];
        states
            .into_iter()
            .flatten()
            .any(|state| Migrator::of(state.schema, own.schema) == Migrator::Writer)
    }
}

/// A state in another schema, by the `migrate` of this generation, on a thread for hooks.
pub(super) fn migrated(
    hooks: &HookRunner,
    by: &Arc<Generation>,
    state: Arc<Snapshot>,
    schema: u32,
) -> Result<Arc<Snapshot>, Cause> {
    let by = by.clone();
    let migrate = move || by.instance().migrate(state.schema, schema, &state.bytes);
    match hooks.run_hook(migrate) {
        Ok(bytes) => Ok(Arc::new(Snapshot::new(schema, bytes))),
        Err(error) => Err(Cause::Hook(Hook::Migrate, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        EarlierState::{InStandby, Kept, NotKept},
        StateSource::{self, Current, Earlier, Nothing},
    };
    use crate::policy::RollbackState::{KeepCurrent, Snapshot};

    #[test]
    fn candidate_that_takes_no_state_starts_from_none() {
        for earlier in [InStandby, Kept, NotKept] {
            for policy in [KeepCurrent, Snapshot] {
                assert_eq!(StateSource::decide(policy, true, false, earlier), Nothing);
            }
        }
    }

    #[test]
    fn policy_decides_where_there_is_an_earlier_state_and_only_there() {
        for earlier in [InStandby, Kept] {
            let source = |policy, current_has_state| StateSource::decide(policy, current_has_state, true, earlier);
            assert_eq!(source(KeepCurrent, true), Current { or_earlier: true });
            assert_eq!(source(Snapshot, true), Earlier);
            assert_eq!(source(KeepCurrent, false), Earlier);
            assert_eq!(source(Snapshot, false), Earlier);
        }
        for policy in [KeepCurrent, Snapshot] {
            let source = |current_has_state| StateSource::decide(policy, current_has_state, true, NotKept);
            assert_eq!(source(true), Current { or_earlier: false });
            assert_eq!(source(false), Nothing);
        }
    }
}
