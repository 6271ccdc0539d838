//! A candidate on trial: the host's shadow, asked at the same events as what serves, with a gate of its own and no power to order. What
//! is kept is how often the two agree, where they first do not, and whatever speaks against promoting it.

use crate::{
    desk::{Desk, Strategy},
    gate::{Gate, Intent, Wanted},
    record::Exposure,
};
use anyhow::{Context, bail};
use desk_interfaces::{MarketEvent, Trader};
use reslot::{Claim, Refusal, Shadow};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// A candidate on trial.
pub struct Trial {
    shadow: Shadow<dyn Trader>,
    build: PathBuf,
    gate: Gate,
    /// What came of it so far.
    pub verdict: Verdict,
}

/// What came of a trial so far.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// How many events it was asked about.
    pub events: u64,
    /// At how many of them it wanted what was done.
    pub agreed: u64,
    /// Where it first wanted something else: the event, what was done, what it wanted.
    pub first_difference: Option<(u64, Vec<Intent>, Vec<Intent>)>,
    /// How many orders it would have sent.
    pub orders: usize,
    /// What speaks against promoting it: it failed, or the gate would have stopped it.
    pub against: Option<String>,
}

impl Desk<'_> {
    /// Puts a build beside a strategy, on trial: the same events, a copy of the state, no power to order.
    ///
    /// # Errors
    /// If the host refuses it.
    pub fn try_out(&mut self, of: usize, build: &Path) -> Result<(), Refusal> {
        let Strategy {
            name,
            claim,
            gate,
            trial,
            ..
        } = &mut self.strategies[of];
        *trial = Some(Trial {
            shadow: Claim::shadow(claim, build)?,
            build: build.to_owned(),
            gate: gate.clone(),
            verdict: Verdict::default(),
        });
        self.timeline.push(format!("{name}: a candidate is on trial"));
        Ok(())
    }

    /// Ends a trial, and loads the build if nothing speaks against it: it decides from the next row on.
    ///
    /// # Errors
    /// With what speaks against it, or why the host refuses it.
    pub fn promote(&mut self, of: usize) -> anyhow::Result<Verdict> {
        let Strategy { name, trial, .. } = &mut self.strategies[of];
        let Trial { build, verdict, .. } = trial.take().context("nothing is on trial")?;
        if let Some(against) = &verdict.against {
            self.timeline
                .push(format!("{name}: the candidate is not promoted: {against}"));
            bail!("{against}");
        }
        self.host.load(build)?;
        Ok(verdict)
    }
}

impl Trial {
    /// Asks it as well, and compares.
    pub(crate) fn ask(&mut self, event: &MarketEvent, done: &[Intent], exposure: Exposure) {
        let verdict = &mut self.verdict;
        let mut wanted = Wanted::default();
        let answered = self.shadow.on_event(event, &mut wanted);
        let Wanted(wanted) = wanted;
        verdict.events += 1;
        if let Err(error) = answered {
            verdict.against.get_or_insert_with(|| error.to_string());
            return;
        }
        verdict.orders += wanted.iter().filter(|intent| matches!(intent, Intent::Place(..))).count();
        if let Err(breach) = self.gate.pass(event.number, &wanted, exposure) {
            let why = || format!("at event {} the gate would have stopped it: {breach}", event.number);
            verdict.against.get_or_insert_with(why);
        }
        if wanted == done {
            verdict.agreed += 1;
        } else if verdict.first_difference.is_none() {
            verdict.first_difference = Some((event.number, done.to_vec(), wanted));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (agreed, events, orders) = (self.agreed, self.events, self.orders);
        write!(f, "agreed at {agreed} of {events} events, would have sent {orders} orders")?;
        if let Some(against) = &self.against {
            write!(f, "; {against}")?;
        }
        if let Some((event, done, wanted)) = &self.first_difference {
            write!(f, "; first at event {event}: {}, where {} was done", list(wanted), list(done))?;
        }
        Ok(())
    }
}

fn list(intents: &[Intent]) -> String {
    let words: Vec<String> = intents.iter().map(Intent::to_string).collect();
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}
