//! The desk: it plays the input, gives each strategy its events, and carries out what they want, after the gate and the risk model. A
//! change of code happens between two rows of the input and nowhere else. What a strategy wanted in a call that panicked, or that the
//! gate stopped, is not done; the version before it is asked about the same event.

use crate::{
    exchange::{Exchange, Fill, Instrument},
    gate::{Breach, Gate, Intent, Wanted},
    input::Row,
    journal::Journal,
    latency::{Beside, Latency},
    news::News,
    record::{Order, Record},
    trial::{Trial, Verdict},
};
use anyhow::{Context, bail};
use desk_interfaces::{MarketEvent, Proposal, RiskModel, Side, Summary, Trader, What};
use reslot::{Claim, Host, LoadOutcome, Refusal, Synced, To};
use std::{
    collections::VecDeque,
    path::Path,
    time::{Duration, Instant},
};

/// The strategies' slots, and what each trades.
pub const STRATEGIES: [(&str, Instrument); 2] = [("desk-maker", Instrument::Cup), ("desk-momentum", Instrument::EurUsd)];
/// The risk model's slot.
pub const RISK: &str = "desk-risk";

/// One row leads to a handful of events. Strategies whose answers lead to so many would go on for ever.
const ENDLESS: usize = 1_000;

/// A strategy of the desk's.
pub struct Strategy {
    /// Its slot.
    pub name: &'static str,
    /// What it trades.
    pub instrument: Instrument,
    claim: Claim<dyn Trader>,
    gate: Gate,
    /// A candidate beside it.
    pub trial: Option<Trial>,
    /// It was stopped, because it did what it must not and there was nothing to go back to.
    pub halted: bool,
}

/// The desk.
pub struct Desk<'a> {
    host: &'a Host,
    /// In the order of [`STRATEGIES`].
    pub strategies: Vec<Strategy>,
    risk: Claim<dyn RiskModel>,
    /// Where the orders go.
    pub exchange: Exchange,
    /// Orders and positions.
    pub record: Record,
    /// What happened.
    pub journal: Journal,
    /// From event to intents.
    pub latency: Latency,
    /// Changes of code, and what the gate stopped, newest last.
    pub timeline: Vec<String>,
    /// What the host has told.
    pub news: News,
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
    /// How often code was adopted, or left.
    pub swaps: u64,
}

impl<'a> Desk<'a> {
    /// Makes the desk the owner of its strategies and its risk model, which are loaded.
    ///
    /// # Errors
    /// If one of them is not.
    pub fn open(host: &'a Host, rows: Vec<Row>) -> anyhow::Result<Self> {
        let claim = |(name, instrument)| -> anyhow::Result<Strategy> {
            Ok(Strategy {
                name,
                instrument,
                claim: host.claim::<dyn Trader>(name)?,
                gate: Gate::default(),
                trial: None,
                halted: false,
            })
        };
        let mut desk = Self {
            host,
            strategies: STRATEGIES.into_iter().map(claim).collect::<anyhow::Result<_>>()?,
            risk: host.claim::<dyn RiskModel>(RISK)?,
            exchange: Exchange::default(),
            record: Record::default(),
            journal: Journal::default(),
            latency: Latency::new()?,
            timeline: Vec::new(),
            news: News::of(host),
            preparing: false,
            adopted: false,
            rows,
            at: 0,
            event: 0,
            waiting: VecDeque::new(),
            disturbed: 0,
            swaps: 0,
        };
        for (slot, generation) in desk.serving() {
            desk.news.decides(slot, generation);
        }
        Ok(desk)
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
        let (moved, fills) = self.exchange.play(&row);
        self.book(&fills);
        if let Some(of) = self.strategies.iter().position(|strategy| strategy.instrument == moved) {
            self.tell(of, What::Quote, None);
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

    /// Decides whatever waits, and whatever comes of that.
    fn decide_all(&mut self) {
        for _ in 0..ENDLESS {
            let Some((of, event)) = self.waiting.pop_front() else { return };
            self.decide(of, &event);
        }
        for (of, _) in self.waiting.drain(..) {
            self.strategies[of].halted = true;
        }
        self.timeline.push(format!(
            "{ENDLESS} events have come of one row: whoever had more to decide is halted"
        ));
    }

    /// The input begins again, in markets that are empty; what rested is taken back with the day.
    pub fn next_day(&mut self) {
        let resting: Vec<Order> = self.record.resting().copied().collect();
        for order in resting {
            self.record.close(order.strategy, order.id);
            self.journal.cancel(self.event, order.id);
            self.tell(
                order.strategy,
                What::Gone,
                Some((order.id, order.side, order.price, order.open)),
            );
        }
        self.exchange = Exchange::default();
        self.at = 0;
        self.decide_all();
    }

    /// Takes in what the host has told since.
    pub fn hear(&mut self) {
        self.news.hear(&mut self.timeline);
    }

    /// The same, until the host has told how each generation ended that decides no more; at most so long.
    pub fn hear_all(&mut self, longest: Duration) {
        let serving = self.serving();
        self.news.hear_all(&mut self.timeline, &serving, Instant::now() + longest);
    }

    /// The safe point of all three; code that was loaded together is adopted together.
    fn sync(&mut self) -> bool {
        let [maker, momentum] = &mut self.strategies[..] else {
            return false;
        };
        let before: Option<Vec<Order>> = [&maker.claim, &momentum.claim]
            .into_iter()
            .any(Claim::has_staged)
            .then(|| self.record.resting().copied().collect());
        let synced = self
            .host
            .sync_together(&mut [&mut maker.claim, &mut momentum.claim, &mut self.risk]);
        let moved = synced.iter().filter(|synced| **synced != Synced::Unchanged).count();
        if moved == 0 {
            return false;
        }
        let names = STRATEGIES.iter().map(|(name, _)| *name).chain([RISK]);
        for (name, synced) in names.zip(synced) {
            match synced {
                Synced::Adopted { generation } => {
                    self.timeline.push(format!("{name}: generation {generation} decides"));
                    self.news.decides(name, generation);
                }
                Synced::RolledBack { from, generation } => {
                    self.timeline
                        .push(format!("{name}: {from} was left, {generation} decides again"));
                }
                Synced::Refused { serving } => self.timeline.push(format!("{name}: refused; {serving} goes on")),
                Synced::Unchanged => continue,
            }
            self.swaps += 1;
        }
        self.disturbed += u64::from(before.is_some_and(|before| !before.iter().eq(self.record.resting())));
        true
    }

    /// Asks a strategy about an event, and carries out what it wants.
    fn decide(&mut self, of: usize, event: &MarketEvent) {
        let Some(mut wanted) = self.ask(of, event) else { return };
        if let Err(breach) = self.strategies[of].gate.pass(event.number, &wanted, event.position) {
            // Nothing of it is done.
            wanted.clear();
            if self.stop(of, breach)
                && let Some(again) = self.ask(of, event)
                && self.strategies[of].gate.pass(event.number, &again, event.position).is_ok()
            {
                wanted = again;
            }
        }
        if let Some(trial) = &mut self.strategies[of].trial {
            trial.ask(event, &wanted);
        }
        for intent in wanted {
            self.carry_out(of, event.number, intent);
        }
    }

    /// What it wants; asked again of the version before it if it panics.
    fn ask(&mut self, of: usize, event: &MarketEvent) -> Option<Vec<Intent>> {
        for _ in 0..2 {
            let strategy = &mut self.strategies[of];
            if strategy.halted {
                return None;
            }
            let mut wanted = Wanted::default();
            match strategy.claim.on_event(event, &mut wanted) {
                Ok(()) => return Some(wanted.0),
                Err(error) => self.timeline.push(format!("{error}; {} intents dropped", wanted.0.len())),
            }
            if !self.sync() {
                break;
            }
        }
        None
    }

    /// Has a strategy leave a version that went against the gate. False if there is none to go back to.
    fn stop(&mut self, of: usize, breach: Breach) -> bool {
        let name = self.strategies[of].name;
        self.timeline.push(format!("{name}: the gate let nothing through: {breach}"));
        match self.host.rollback(name, To::Previous) {
            Ok(_) if self.sync() => return true,
            Ok(_) => {}
            Err(error) => self.timeline.push(error.to_string()),
        }
        self.strategies[of].halted = true;
        false
    }

    fn carry_out(&mut self, of: usize, event: u64, intent: Intent) {
        let Strategy { name, instrument, .. } = self.strategies[of];
        match intent {
            Intent::Cancel { order } => {
                let Some(order) = self.record.close(of, order) else { return };
                self.exchange.cancel(instrument, order.id);
                self.journal.cancel(event, order.id);
                self.tell(of, What::Gone, Some((order.id, order.side, order.price, order.open)));
            }
            Intent::Place { side, price, quantity } => {
                let position = self.record.holding(of).position;
                let resting = self.record.resting_of(of, side);
                let proposal = Proposal {
                    side,
                    price,
                    quantity,
                    position,
                    resting,
                };
                // Without an answer nothing is sent.
                if !self.risk.allows(&proposal).unwrap_or(false) {
                    self.journal.refused(event, name, &intent);
                    return self.tell(of, What::Refused, Some((0, side, price, quantity)));
                }
                let generation = Claim::generation(&self.strategies[of].claim);
                let id = self.record.open(of, generation, side, price, quantity);
                self.journal.order(event, id, name, side, price, quantity);
                self.tell(of, What::Accepted, Some((id, side, price, quantity)));
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
            self.tell(order.strategy, What::Filled, Some(about));
            if order.open == 0 {
                self.tell(order.strategy, What::Gone, Some(about));
            }
        }
    }

    /// An event for a strategy, which is asked when what it does now is done.
    fn tell(&mut self, of: usize, what: What, about: Option<(u64, Side, u64, u64)>) {
        self.event += 1;
        let (bid, ask) = self.exchange.best(self.strategies[of].instrument);
        let (order, side, price, quantity) = about.unwrap_or((0, Side::Buy, 0, 0));
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

    /// Puts a build beside a strategy, on trial: the same events, a copy of the state, no power to order.
    ///
    /// # Errors
    /// If the host refuses it.
    pub fn try_out(&mut self, of: usize, path: &Path) -> Result<u64, Refusal> {
        let strategy = &mut self.strategies[of];
        let shadow = Claim::shadow(&strategy.claim, path)?;
        strategy.trial = Some(Trial::new(shadow, path.to_owned(), strategy.gate.clone()));
        self.timeline.push(format!("{}: a candidate is on trial", strategy.name));
        Ok(self.event)
    }

    /// Ends a trial, and loads the build if nothing speaks against it: it decides from the next row on.
    ///
    /// # Errors
    /// With what speaks against it, or why the host refuses it.
    pub fn promote(&mut self, of: usize) -> anyhow::Result<Verdict> {
        let Strategy { name, trial, .. } = &mut self.strategies[of];
        let Trial { path, verdict, .. } = trial.take().context("nothing is on trial")?;
        if let Some(against) = verdict.against() {
            self.timeline
                .push(format!("{name}: the candidate is not promoted: {against}"));
            bail!("{against}");
        }
        self.load(&path)?;
        Ok(verdict)
    }

    /// Has the host load a build, on trial or not.
    ///
    /// # Errors
    /// If the host refuses it.
    pub fn load(&mut self, path: &Path) -> Result<LoadOutcome, Refusal> {
        self.host.load(path)
    }

    /// What a strategy says of itself.
    ///
    /// # Errors
    /// If the call fails.
    pub fn summary(&mut self, of: usize) -> anyhow::Result<Summary> {
        Ok(self.strategies[of].claim.summary()?)
    }

    /// The generation that decides for a strategy.
    pub fn generation(&self, of: usize) -> u64 {
        Claim::generation(&self.strategies[of].claim)
    }

    /// The generation of the risk model.
    pub fn risk_generation(&self) -> u64 {
        Claim::generation(&self.risk)
    }

    /// Each slot, and the generation that decides in it.
    pub fn serving(&self) -> [(&'static str, u64); 3] {
        let [maker, momentum] = [0, 1].map(|of| (STRATEGIES[of].0, self.generation(of)));
        [maker, momentum, (RISK, self.risk_generation())]
    }

    /// The number of the last event.
    pub fn event(&self) -> u64 {
        self.event
    }

    /// How many rows were played, of how many.
    pub fn progress(&self) -> (usize, usize) {
        (self.at, self.rows.len())
    }
}
