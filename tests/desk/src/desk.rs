//! The desk: it plays the input, gives each strategy its events, and carries out what they want, after the gate and the risk model. A
//! change of code happens between two rows of the input and nowhere else. What a strategy wanted in a call that panicked, or that the
//! gate stopped, is not done; the version before it is asked about the same event.

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

/// One row leads to a handful of events. Strategies whose answers lead to so many would go on for ever.
const ENDLESS: usize = 1_000;
/// No order, where an event is about none.
const NONE: (u64, Side, u64, u64) = (0, Side::Buy, 0, 0);

/// A strategy of the desk's.
pub struct Strategy {
    pub(crate) name: &'static str,
    pub(crate) instrument: Instrument,
    pub(crate) claim: Claim<dyn Trader>,
    pub(crate) gate: Gate,
    /// The version that was gone back to, and up to which event orders of the one that was left may be what fills the gate's window.
    excused: (Option<u64>, u64),
    /// A candidate beside it.
    pub trial: Option<Trial>,
    /// It was stopped, because it did what it must not and there was nothing to go back to.
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
    /// Set by whoever prepares a build meanwhile.
    pub preparing: bool,
    /// Since the last event.
    adopted: bool,
    rows: Vec<Row>,
    at: usize,
    event: u64,
    waiting: VecDeque<(usize, MarketEvent)>,
    /// Swaps at which a resting order was not the same before and after: none, as long as the desk owns them.
    pub disturbed: u64,
    /// How often code was adopted, left, or refused at the last moment.
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

    /// A gap, and a row that comes right after it; false if there is none left.
    pub fn step(&mut self) -> bool {
        self.gap();
        self.play(Instant::now())
    }

    /// Between two rows, when there is nothing to decide: what waits is adopted here, and nowhere else unless a fault leads to it.
    pub fn gap(&mut self) {
        self.adopted |= self.sync();
    }

    /// Plays one row, and notes how long after its arrival all was decided; false if there is none left.
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
        // Also one that a fault led to, in the middle of an event.
        let beside = match std::mem::take(&mut self.adopted) || self.swaps > swaps {
            true => Beside::Adopting,
            false if self.preparing => Beside::Preparing,
            false => Beside::Nothing,
        };
        self.latency.note(beside, arrived.elapsed());
        true
    }

    /// The input begins again, in markets that are empty; what rested is taken back with the day.
    pub fn next_day(&mut self) {
        let resting: Vec<Order> = self.record.resting().copied().collect();
        for order in resting {
            self.carry_out(order.strategy, self.event, Intent::Cancel(order.id));
        }
        self.exchange = Exchange::default();
        self.at = 0;
        self.decide_all();
    }

    /// The safe point of all three; code that was loaded together is adopted together.
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
            // Of all else the host tells.
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

    /// Takes in what the host has told since: how long reloads took, what was refused, and what is still mapped and why.
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

    /// Decides whatever waits, and whatever comes of that.
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

    /// What a strategy wants, if the gate lets it through. A version that panics, or goes against the gate, is left, nothing of what it
    /// wanted is done, and the one before it is asked about the same event.
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
                        // Told once, when it was gone back to.
                        return None;
                    }
                    self.timeline
                        .push(format!("{name}: of what it wants nothing passes the gate: {breach}"));
                    self.leave(of);
                    // It may have lost sight of them, and so may the state that is handed back.
                    self.take_back(of, event.number);
                    self.strategies[of].excused = (self.generation(of), event.number + WINDOW);
                    self.timeline
                        .push(format!("{name}: as long as its orders fill the gate's window, little passes"));
                }
                Err(error) => {
                    self.timeline.push(format!("{error}; {} intents dropped", wanted.len()));
                    // On probation the host goes back by itself.
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

    /// Has a strategy go back to the version before, if there is one.
    fn leave(&mut self, of: usize) {
        if let Err(error) = self.host.rollback(self.strategies[of].name, RollbackTarget::Previous) {
            self.timeline.push(error.to_string());
        }
        self.sync();
    }

    /// There is nothing to go back to.
    fn halt(&mut self, of: usize, event: u64) {
        let Strategy { name, halted, .. } = &mut self.strategies[of];
        if !std::mem::replace(halted, true) {
            self.timeline
                .push(format!("{name}: halted, for there is nobody else to decide"));
            self.take_back(of, event);
        }
    }

    /// Takes back all that a strategy has resting.
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
                    // A version that was gone back to may not know that it has gone.
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

    /// Books fills, and tells the strategies whose they are.
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

    /// An event for a strategy, which is asked when what it does now is done.
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

    /// What a strategy says of itself.
    pub fn summary(&mut self, of: usize) -> anyhow::Result<Summary> {
        Ok(self.strategies[of].claim.summary()?)
    }

    /// The generation that decides for a strategy; none if nothing serves.
    pub fn generation(&self, of: usize) -> Option<u64> {
        Claim::generation(&self.strategies[of].claim)
    }

    /// The generation of the risk model; none if nothing serves.
    pub fn risk_generation(&self) -> Option<u64> {
        Claim::generation(&self.risk)
    }

    /// How many rows were played, of how many.
    pub fn progress(&self) -> (usize, usize) {
        (self.at, self.rows.len())
    }
}

/// The build was prepared beside what served; the desk waited only to adopt it.
fn adopted(report: &ReloadReport) -> String {
    let (slot, generation) = (&report.slot, report.generation);
    let prepared = report.steps.iter().filter(|(step, _)| *step < Step::Snapshot);
    let prepared: Duration = prepared.map(|(_, took)| *took).sum();
    let (prepared, paused) = (prepared.as_micros(), report.pause.as_micros());
    format!("{slot}: generation {generation} decides; prepared beside {prepared} µs, paused {paused} µs")
}
