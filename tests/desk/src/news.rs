//! What the host tells of its own accord: how long a reload took, what was refused, and what became of the code that was replaced.

use reslot::{Event, Events, Host, Outcome, ReloadReport, Step};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// A slot, and a number of a generation in it.
type Generation = (String, u64);

/// What was heard so far.
pub struct News {
    events: Events,
    served: BTreeSet<Generation>,
    /// How each ended that has: the empty word if it is proven unmapped, else why not.
    ended: BTreeMap<Generation, String>,
}

impl News {
    /// From now on.
    pub fn of(host: &Host) -> Self {
        Self {
            events: host.events(),
            served: BTreeSet::new(),
            ended: BTreeMap::new(),
        }
    }

    /// This one serves from now on.
    pub(crate) fn decides(&mut self, slot: &str, generation: u64) {
        self.served.insert((slot.to_owned(), generation));
    }

    /// Takes in what was told since, and writes what somebody wants to see of it.
    pub(crate) fn hear(&mut self, timeline: &mut Vec<String>) {
        while let Some(record) = self.events.try_recv() {
            self.take_in(&record.event, timeline);
        }
    }

    /// The same, until whatever is served no more is told of, or the deadline.
    pub(crate) fn hear_all(&mut self, timeline: &mut Vec<String>, serving: &[(&str, u64)], deadline: Instant) {
        self.hear(timeline);
        while !self.left(serving).is_empty()
            && let Some(record) = self.events.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            self.take_in(&record.event, timeline);
        }
    }

    fn take_in(&mut self, event: &Event, timeline: &mut Vec<String>) {
        match event {
            Event::Swapped(report) if report.replaced.is_some() => timeline.push(times(report)),
            Event::Refused(refusal) => timeline.push(refusal.to_string()),
            Event::Retired(report) => {
                let kept = match &report.outcome {
                    Outcome::Unmapped(_) => String::new(),
                    Outcome::Quarantined(reason) => reason.to_string(),
                    other => format!("{other:?}"),
                };
                self.ended.insert((report.slot.to_string(), report.generation), kept);
            }
            _ => {}
        }
    }

    /// How many generations have served and do not any more.
    pub fn replaced(&self, serving: &[(&str, u64)]) -> usize {
        self.gone_from(serving).count()
    }

    /// Those of them that are not proven unmapped, each with what is known.
    pub fn left(&self, serving: &[(&str, u64)]) -> Vec<String> {
        let words = |of: &Generation| match self.ended.get(of).map(String::as_str) {
            Some("") => None,
            Some(kept) => Some(format!("{} {}: {kept}", of.0, of.1)),
            None => Some(format!("{} {}: nothing was told of its end", of.0, of.1)),
        };
        self.gone_from(serving).filter_map(words).collect()
    }

    fn gone_from(&self, serving: &[(&str, u64)]) -> impl Iterator<Item = &Generation> {
        let serves = |of: &Generation| serving.iter().any(|(slot, number)| *slot == of.0 && *number == of.1);
        self.served.iter().filter(move |of| !serves(of))
    }
}

/// What its owner waited for is what begins with the snapshot.
fn times(report: &ReloadReport) -> String {
    let sum = |of: fn(&Step) -> bool| -> Duration {
        let steps = report.steps.iter().filter(|(step, _)| of(step));
        steps.map(|(_, took)| *took).sum()
    };
    let (prepared, adopted) = (sum(|step| *step < Step::Snapshot), sum(|step| *step >= Step::Snapshot));
    format!(
        "{} {}: prepared beside in {} µs, adopted in {} µs",
        report.slot,
        report.generation,
        prepared.as_micros(),
        adopted.as_micros()
    )
}
