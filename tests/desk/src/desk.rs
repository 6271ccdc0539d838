//! The desk: it plays the input, gives each strategy its events, and carries out what they want, after the gate and the risk
//! model. A change of code happens between two rows of the input and nowhere else. If a strategy's call panics or breaks a
//! limit of the gate, the desk drops its intents, rolls the strategy back, and asks the previous version about the same
//! event.

use crate::{
    exchange::{Exchange, Fill, Instrument},
    gate::{Gate, Intent, WINDOW, Wanted},
    input::Row,
    journal::Journal,
    latency::{Beside, Latency},
    record::{Order, Record},
    trial::Trial,
};
use desk_interfaces::{MarketEvent, Proposal, RiskModel, Side, Summary, Trader, What};
use reslot::{Claim, Event, Events, Host, Outcome, ReloadReport, RollbackTarget, Step, SyncOutcome};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The strategies' slots, and what each trades.
pub const STRATEGIES: [(&str, Instrument); 2] = [("desk-maker", Instrument::Cup), ("desk-momentum", Instrument::EurUsd)];
/// The risk model's slot.
pub const RISK: &str = "desk-risk";

/// One row normally leads to a handful of events. A row that leads to this many events is treated as an endless loop.
const ENDLESS: usize = 1_000;
/// The order fields of an event that is about no order.
const NONE: (u64, Side, u64, u64) = (0, Side::Buy, 0, 0);

/// A strategy of the desk's.
pub struct Strategy {
    pub(crate) name: &'static str,
    pub(crate) instrument: Instrument,
    pub(crate) claim: Claim<dyn Trader>,
    pub(crate) gate: Gate,
    /// After a rollback: the generation that it restored, and the event up to which orders of the faulty version may fill
    /// the gate's window.
    excused: (Option<u64>, u64),
    /// A candidate beside it.
    pub trial: Option<Trial>,
    /// The desk has stopped this strategy: it broke a rule, and no earlier version was available for a rollback.
    pub halted: bool,
}

/// The desk.
pub struct Desk<'a> {
    pub(crate) host: &'a Host,
    events: Events,
    /// In the order of [`STRATEGIES`].
    pub strategies: [Strategy; 2],
    risk: Claim<dyn RiskModel>,
    pub(crate) exchange: Exchange,
    /// Orders and positions.
    pub record: Record,
    /// What happened.
    pub journal: Journal,
    /// From event to intents.
    pub latency: Latency,
    /// Changes of code, and what the gate stopped, newest last.
    pub timeline: Vec<String>,
    /// True while the story prepares a build on the host's threads.
    pub preparing: bool,
    /// Since the last event.
    adopted: bool,
    rows: Vec<Row>,
    at: usize,
    event: u64,
    waiting: VecDeque<(usize, MarketEvent)>,
    /// The number of swaps that changed a resting order. It stays 0, because the desk owns the orders.
    pub disturbed: u64,
    /// The number of swaps, rollbacks, and refusals at the safe point.
    pub swaps: u64,
}

impl<'a> Desk<'a> {
    /// Makes the desk the owner of its strategies and its risk model. Refused if one of them is not loaded.
    pub fn open(host: &'a Host, rows: Vec<Row>) -> anyhow::Result<Self> {
        let strategy = |(name, instrument)| -> anyhow::Result<Strategy> {
            Ok(Strategy {
                name,
                instrument,
                claim: host.claim::<dyn Trader>(name)?,
                gate: Gate::default(),
                excused: (None, 0),
                trial: None,
                halted: false,
            })
        };
        let [maker, momentum] = STRATEGIES;
        Ok(Self {
            host,
            events: host.events(),
            strategies: [strategy(maker)?, strategy(momentum)?],
            risk: host.claim::<dyn RiskModel>(RISK)?,
            exchange: Exchange::default(),
            record: Record::default(),
            journal: Journal::default(),
            latency: Latency::new()?,
            timeline: Vec::new(),
            preparing: false,
            adopted: false,
            rows,
            at: 0,
            event: 0,
            waiting: VecDeque::new(),
            disturbed: 0,
            swaps: 0,
        })
    }

    /// A gap, and a row directly after it. Returns false at the end of the input.
    pub fn step(&mut self) -> bool {
        self.gap();
        self.play(Instant::now())
    }

    /// The pause between two rows. The desk adopts waiting code here and, apart from the rollback after a fault, nowhere
    /// else.
    pub fn gap(&mut self) {
        self.adopted |= self.sync();
    }

    /// Plays one row, and records the time from its arrival to the last decision. Returns false at the end of the input.
    pub fn play(&mut self, arrived: Instant) -> bool {
        let Some(row) = self.rows.get(self.at).copied() else {
            return false;
        };
        self.at += 1;
        let swaps = self.swaps;
        let (moved, fills) = self.exchange.play(row);
        self.book(&fills);
        if let Some(of) = self.strategies.iter().position(|strategy| strategy.instrument == moved) {
            self.tell(of, What::Quote, NONE);
        }
        self.decide_all();
        // This includes a rollback in the middle of an event.
        let beside = match std::mem::take(&mut self.adopted) || self.swaps > swaps {
            true => Beside::Adopting,
            false if self.preparing => Beside::Preparing,
            false => Beside::Nothing,
        };
        self.latency.note(beside, arrived.elapsed());
        true
    }

    /// Starts the input again with empty markets, and cancels all resting orders.
    pub fn next_day(&mut self) {
        let resting: Vec<Order> = self.record.resting().copied().collect();
        for order in resting {
            self.carry_out(order.strategy, self.event, Intent::Cancel(order.id));
        }
        self.exchange = Exchange::default();
        self.at = 0;
        self.decide_all();
    }

    /// The safe point of all three slots. Code that was loaded as a group is adopted as a group.
    fn sync(&mut self) -> bool {
        let [maker, momentum] = &mut self.strategies;
        let staged = [&maker.claim, &momentum.claim].into_iter().any(Claim::has_staged);
        let before: Option<Vec<Order>> = staged.then(|| self.record.resting().copied().collect());
        let synced = self
            .host
            .sync_together(&mut [&mut maker.claim, &mut momentum.claim, &mut self.risk]);
        let moved = synced.iter().filter(|synced| **synced != SyncOutcome::Unchanged).count();
        if moved == 0 {
            return false;
        }
        for (name, synced) in [maker.name, momentum.name, RISK].into_iter().zip(synced) {
            // The host reports everything else with its own events.
            if let SyncOutcome::RolledBack { from, generation } = synced {
                self.timeline
                    .push(format!("{name}: {from} was left, {generation} decides again"));
            }
        }
        self.hear();
        self.swaps += moved as u64;
        self.disturbed += u64::from(before.is_some_and(|before| !before.iter().eq(self.record.resting())));
        true
    }

    /// Reads the host's new events: durations of reloads, refusals, and images that are still mapped, with the reason.
    pub fn hear(&mut self) {
        while let Some(record) = self.events.try_recv() {
            self.timeline.push(match &record.event {
                Event::Swapped(report) if report.replaced.is_some() => adopted(report),
                Event::Refused(refusal) => refusal.to_string(),
                Event::Retired(report) if matches!(report.outcome, Outcome::Quarantined(_)) => report.to_string(),
                _ => continue,
            });
        }
    }

    /// Handles all waiting events, and the events that follow from them.
    fn decide_all(&mut self) {
        for _ in 0..ENDLESS {
            let Some((of, event)) = self.waiting.pop_front() else { return };
            let Some(wanted) = self.ask(of, &event) else { continue };
            if let Some(trial) = &mut self.strategies[of].trial {
                trial.ask(&event, &wanted, self.record.exposure(of));
            }
            for intent in wanted {
                self.carry_out(of, event.number, intent);
            }
        }
        let words = format!("{ENDLESS} events have come of one row: whoever had more to decide is halted");
        self.timeline.push(words);
        for (of, event) in std::mem::take(&mut self.waiting) {
            self.halt(of, event.number);
        }
    }

    /// Asks a strategy for its intents and passes them through the gate. If the version panics or breaks a limit, the desk
    /// drops its intents, rolls back, and asks the previous version about the same event.
    fn ask(&mut self, of: usize, event: &MarketEvent) -> Option<Vec<Intent>> {
        for _ in 0..2 {
            let generation = self.generation(of);
            let strategy = &mut self.strategies[of];
            if strategy.halted {
                return None;
            }
            let mut wanted = Wanted::default();
            let answered = strategy.claim.on_event(event, &mut wanted);
            let Wanted(wanted) = wanted;
            let name = strategy.name;
            if answered.is_ok() && wanted.is_empty() {
                return Some(wanted);
            }
            match answered.map(|()| strategy.gate.pass(event.number, &wanted, self.record.exposure(of))) {
                Ok(Ok(())) => return Some(wanted),
                Ok(Err(breach)) => {
                    let (whom, until) = self.strategies[of].excused;
                    if breach.is_of_the_window && generation == whom && event.number <= until {
                        // The rollback has already reported this breach.
                        return None;
                    }
                    self.timeline
                        .push(format!("{name}: of what it wants nothing passes the gate: {breach}"));
                    self.leave(of);
                    // The faulty version may not have recorded all its orders, so the state that the rollback carries over
                    // may lack them too.
                    self.take_back(of, event.number);
                    self.strategies[of].excused = (self.generation(of), event.number + WINDOW);
                    self.timeline
                        .push(format!("{name}: as long as its orders fill the gate's window, little passes"));
                }
                Err(error) => {
                    self.timeline.push(format!("{error}; {} intents dropped", wanted.len()));
                    // During probation the host rolls back by itself.
                    self.sync();
                    if self.generation(of) == generation {
                        self.leave(of);
                    }
                }
            }
            if self.generation(of) == generation {
                self.halt(of, event.number);
                return None;
            }
        }
        None
    }

    /// Rolls a strategy back to its previous version, if one exists.
    fn leave(&mut self, of: usize) {
        if let Err(error) = self.host.rollback(self.strategies[of].name, RollbackTarget::Previous) {
            self.timeline.push(error.to_string());
        }
        self.sync();
    }

    /// Stops a strategy that has no earlier version.
    fn halt(&mut self, of: usize, event: u64) {
        let Strategy { name, halted, .. } = &mut self.strategies[of];
        if !std::mem::replace(halted, true) {
            self.timeline
                .push(format!("{name}: halted, for there is nobody else to decide"));
            self.take_back(of, event);
        }
    }

    /// Cancels all resting orders of a strategy.
    fn take_back(&mut self, of: usize, event: u64) {
        let own = |order: &&Order| order.strategy == of;
        let resting: Vec<u64> = self.record.resting().filter(own).map(|order| order.id).collect();
        let (name, many) = (self.strategies[of].name, resting.len());
        self.timeline.push(format!("{name}: {many} resting orders are taken back"));
        for order in resting {
            self.carry_out(of, event, Intent::Cancel(order));
        }
    }

    fn carry_out(&mut self, of: usize, event: u64, intent: Intent) {
        let Strategy { name, instrument, .. } = self.strategies[of];
        match intent {
            Intent::Cancel(order) => {
                let Some(order) = self.record.close(of, order) else {
                    // A version that a rollback restored may still list an order that no longer exists.
                    if let Some(side) = self.record.side(of, order) {
                        self.tell(of, What::Gone, (order, side, 0, 0));
                    }
                    return;
                };
                self.exchange.cancel(instrument, order.id);
                self.journal.cancel(event, order.id);
                self.tell(of, What::Gone, (order.id, order.side, order.price, order.open));
            }
            Intent::Place(side, price, quantity) => {
                let exposure = self.record.exposure(of);
                let proposal = Proposal {
                    side,
                    price,
                    quantity,
                    position: exposure.position,
                    resting: match side {
                        Side::Buy => exposure.buys,
                        Side::Sell => exposure.sells,
                    },
                };
                // Without an answer nothing is sent.
                if !self.risk.allows(&proposal).unwrap_or(false) {
                    self.journal.refused(event, name, &intent);
                    return self.tell(of, What::Refused, (0, side, price, quantity));
                }
                let Some(generation) = self.generation(of) else {
                    return;
                };
                let id = self.record.open(of, generation, side, price, quantity);
                self.journal.order(event, id, name, side, price, quantity);
                self.tell(of, What::Accepted, (id, side, price, quantity));
                let fills = self.exchange.place(instrument, id, side, price, quantity);
                self.book(&fills);
            }
        }
    }

    /// Books fills, and queues an event for the strategy that owns each order.
    fn book(&mut self, fills: &[Fill]) {
        for fill in fills {
            let Some(order) = self.record.fill(fill) else { continue };
            self.journal.fill(self.event, fill.order, fill.price, fill.quantity);
            let about = (order.id, order.side, fill.price, fill.quantity);
            self.tell(order.strategy, What::Filled, about);
            if order.open == 0 {
                self.tell(order.strategy, What::Gone, about);
            }
        }
    }

    /// Queues an event for a strategy; the desk asks it after the current event.
    fn tell(&mut self, of: usize, what: What, (order, side, price, quantity): (u64, Side, u64, u64)) {
        self.event += 1;
        let (bid, ask) = self.exchange.best(self.strategies[of].instrument);
        let event = MarketEvent {
            number: self.event,
            what,
            bid,
            ask,
            order,
            side,
            price,
            quantity,
            position: self.record.holding(of).position,
        };
        self.waiting.push_back((of, event));
    }

    /// A strategy's own summary.
    pub fn summary(&mut self, of: usize) -> anyhow::Result<Summary> {
        Ok(self.strategies[of].claim.summary()?)
    }

    /// The current generation of a strategy; none if its slot is empty.
    pub fn generation(&self, of: usize) -> Option<u64> {
        Claim::generation(&self.strategies[of].claim)
    }

    /// The current generation of the risk model; none if its slot is empty.
    pub fn risk_generation(&self) -> Option<u64> {
        Claim::generation(&self.risk)
    }

    /// How many rows were played, of how many.
    pub fn progress(&self) -> (usize, usize) {
        (self.at, self.rows.len())
    }
}

/// The host prepared the build while the current generation served; the desk waited only for the adoption.
fn adopted(report: &ReloadReport) -> String {
    let (slot, generation) = (&report.slot, report.generation);
    let prepared = report.steps.iter().filter(|(step, _)| *step < Step::Snapshot);
    let prepared: Duration = prepared.map(|(_, took)| *took).sum();
    let (prepared, paused) = (prepared.as_micros(), report.pause.as_micros());
    format!("{slot}: generation {generation} decides; prepared beside {prepared} µs, paused {paused} µs")
}
