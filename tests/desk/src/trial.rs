//! A candidate on trial: a shadow that is asked at the same events as the current version, with its own gate and without the
//! right to send orders. The trial records how often both agree, their first difference, and each reason against promotion.

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
    /// The result so far.
    pub verdict: Verdict,
}

/// The result of a trial so far.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The number of events it was asked about.
    pub events: u64,
    /// The number of events at which it had the same intents as the current version.
    pub agreed: u64,
    /// The first difference: the event, the current version's intents, the candidate's intents.
    pub first_difference: Option<(u64, Vec<Intent>, Vec<Intent>)>,
    /// The number of orders it would have sent.
    pub orders: usize,
    /// The reason against promotion: it failed, or the gate would have stopped it.
    pub against: Option<String>,
}

impl Desk<'_> {
    /// Starts a trial of a build beside a strategy: it gets the same events and a copy of the state, and cannot send orders.
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

    /// Ends a trial, and loads the build if there is no reason against it; it decides from the next row on.
    ///
    /// # Errors
    /// The reason against promotion, or the host's refusal.
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
    /// Asks the candidate too, and compares.
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
