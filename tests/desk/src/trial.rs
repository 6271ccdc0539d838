//! A candidate on trial: the host's shadow, asked at the same events as what serves, with a gate of its own and no power to order. What
//! is kept is how often the two agree, where they first do not, and whatever speaks against promoting it.

use crate::gate::{Breach, Gate, Intent, Wanted};
use desk_interfaces::{MarketEvent, Trader};
use reslot::Shadow;
use std::{fmt, path::PathBuf};

/// A candidate on trial.
pub struct Trial {
    shadow: Shadow<dyn Trader>,
    pub(crate) path: PathBuf,
    gate: Gate,
    /// What came of it so far.
    pub verdict: Verdict,
}

/// What came of a trial so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many events it was asked about.
    pub events: u64,
    /// At how many of them it wanted what was done.
    pub agreed: u64,
    /// Where it first wanted something else: the event, what was done, what it wanted.
    pub first_difference: Option<(u64, Vec<Intent>, Vec<Intent>)>,
    /// How many orders it would have sent.
    pub orders: u64,
    /// The event at which the gate would have stopped it, and why.
    pub breach: Option<(u64, Breach)>,
    /// What it failed with.
    pub failure: Option<String>,
}

impl Trial {
    pub(crate) fn new(shadow: Shadow<dyn Trader>, path: PathBuf, gate: Gate) -> Self {
        Self {
            shadow,
            path,
            gate,
            verdict: Verdict::default(),
        }
    }

    /// Asks it as well, and compares.
    pub(crate) fn ask(&mut self, event: &MarketEvent, done: &[Intent]) {
        let mut wanted = Wanted::default();
        let answered = self.shadow.on_event(event, &mut wanted);
        let verdict = &mut self.verdict;
        verdict.events += 1;
        if let Err(error) = answered {
            verdict.failure.get_or_insert_with(|| error.to_string());
            return;
        }
        let Wanted(wanted) = wanted;
        let orders = wanted.iter().filter(|intent| matches!(intent, Intent::Place { .. })).count();
        verdict.orders += orders as u64;
        if let Err(breach) = self.gate.pass(event.number, &wanted, event.position) {
            verdict.breach.get_or_insert((event.number, breach));
        }
        match wanted == done {
            true => verdict.agreed += 1,
            false if verdict.first_difference.is_none() => {
                verdict.first_difference = Some((event.number, done.to_vec(), wanted));
            }
            false => {}
        }
    }
}

impl Verdict {
    /// What speaks against promoting it, if anything.
    pub fn against(&self) -> Option<String> {
        let breach = self
            .breach
            .map(|(event, breach)| format!("at event {event} the gate would have stopped it: {breach}"));
        breach.or_else(|| self.failure.clone())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "agreed at {} of {} events, would have sent {} orders",
            self.agreed, self.events, self.orders
        )?;
        if let Some((event, done, wanted)) = &self.first_difference {
            write!(f, "; first at event {event}: {}, where {} was done", list(wanted), list(done))?;
        }
        match self.against() {
            Some(against) => write!(f, "; {against}"),
            None => Ok(()),
        }
    }
}

fn list(intents: &[Intent]) -> String {
    match intents {
        [] => "nothing".to_owned(),
        some => some.iter().map(Intent::to_string).collect::<Vec<_>>().join(", "),
    }
}
