//! The claimed form: one owner calls the plugin, reaches safe points and checks the state, all on the test's thread.

use crate::{
    UpDownUp,
    actor::{Actor, Move, Pace, Played, must_have_panicked},
    failure::{Broken, Failure, Problem},
    look::{Seen, Sight},
    report::Report,
    script,
};
use reslot::{CallError, Claim, Host, SyncOutcome};
use reslot_plugin_api::Interface;
use std::{fmt::Debug, thread, time::Instant};

type Calls<'a, I> = Box<dyn FnMut(&mut <I as Interface>::Client) -> Result<(), Problem> + 'a>;
type Looks<'a, I> = Box<dyn FnMut(&mut <I as Interface>::Client) -> Result<Box<dyn Seen>, Problem> + 'a>;
type Panics<'a, I> = Box<dyn FnMut(&mut <I as Interface>::Client) -> Result<(), CallError> + 'a>;

/// A run with one owner, from [`UpDownUp::claimed`].
#[must_use = "nothing happens before `run`"]
pub struct Claimed<'a, I: ?Sized + Interface> {
    settings: UpDownUp<I>,
    load: Calls<'a, I>,
    state: Option<Calls<'a, I>>,
    same: Vec<Looks<'a, I>>,
    panics: Option<Panics<'a, I>>,
    claim: Option<Claim<I>>,
}

impl<'a, I: ?Sized + Interface> Claimed<'a, I> {
    pub(crate) fn new(settings: UpDownUp<I>, load: Calls<'a, I>) -> Self {
        Self {
            settings,
            load,
            state: None,
            same: Vec::new(),
            panics: None,
            claim: None,
        }
    }

    /// Calls that give a new instance a state that could be lost. They are made once in each host of the run.
    pub fn state(mut self, state: impl FnMut(&mut I::Client) -> Result<(), Problem> + 'a) -> Self {
        self.state = Some(Box::new(state));
        self
    }

    /// A value that must be the same right before and right after a move. It may be given several times. A plugin with state
    /// needs at least one.
    pub fn same<T: PartialEq + Debug + 'static>(
        mut self,
        mut same: impl FnMut(&mut I::Client) -> Result<T, Problem> + 'a,
    ) -> Self {
        self.same
            .push(Box::new(move |client| Ok(Box::new(same(client)?) as Box<dyn Seen>)));
        self
    }

    /// A call that panics inside the plugin. With it the run also tests a new build that panics on probation: the host must
    /// roll back to the old one. Without it the report says that this was skipped.
    pub fn panics(mut self, panics: impl FnMut(&mut I::Client) -> Result<(), CallError> + 'a) -> Self {
        self.panics = Some(Box::new(panics));
        self
    }

    /// Runs all moves and faults. This takes some seconds.
    ///
    /// # Errors
    /// The first failed check, with the move and the host's events until then.
    pub fn run(mut self) -> Result<Report, Failure> {
        let plan = self.settings.plan();
        script::run(&plan, &mut self)
    }

    fn look(same: &mut [Looks<'a, I>], claim: &mut Claim<I>) -> Result<Sight, Broken> {
        let looks = same.iter_mut().map(|look| look(&mut *claim));
        looks.collect::<Result<_, _>>().map_err(Broken::Look)
    }

    fn claim(claim: &mut Option<Claim<I>>) -> Result<&mut Claim<I>, Broken> {
        claim
            .as_mut()
            .ok_or_else(|| Broken::Setup("nobody has claimed the slot".to_owned()))
    }

    fn play_it(&mut self, make: Move<'_>, played: &mut Played) -> Result<(), Broken> {
        let claim = Self::claim(&mut self.claim)?;
        let (load, same) = (&mut self.load, &mut self.same);
        let units = self.settings.units;
        (0..units).for_each(|_| played.load.unit(|| load(claim)));
        thread::scope(|scope| {
            let moving = scope.spawn(make);
            loop {
                // This is read first, so that the following `sync` includes everything that the host has done by then.
                let finished = moving.is_finished();
                played.load.unit(|| load(claim));
                let before = Self::look(same, claim);
                let begun = Instant::now();
                let synced = Claim::sync(claim);
                if synced != SyncOutcome::Unchanged {
                    played.pause = played.pause.max(begun.elapsed());
                    match (before, Self::look(same, claim)) {
                        (Ok(before), Ok(after)) => (played.before, played.after) = (before, after),
                        (Err(broken), _) | (_, Err(broken)) => played.broke(broken),
                    }
                }
                if finished {
                    break;
                }
            }
            played.answer = moving.join().ok();
        });
        let claim = Self::claim(&mut self.claim)?;
        (0..units).for_each(|_| played.load.unit(|| load(claim)));
        Ok(())
    }
}

impl<I: ?Sized + Interface> Actor for Claimed<'_, I> {
    fn paces(&self) -> &'static [Pace] {
        // One thread calls and checks, so the load need not be paused for a check.
        &[Pace::Running]
    }

    fn looks(&self) -> bool {
        !self.same.is_empty()
    }

    fn sums(&self) -> bool {
        false
    }

    fn panics(&self) -> bool {
        self.panics.is_some()
    }

    fn enter(&mut self, host: &Host, slot: &str) -> Result<(), Broken> {
        let mut claim = host.claim(slot).map_err(|error| Broken::Usage(error.to_string()))?;
        if let Some(state) = &mut self.state {
            state(&mut claim).map_err(Broken::State)?;
        }
        self.claim = Some(claim);
        Ok(())
    }

    fn play(&mut self, _: &Host, _: Pace, make: Move<'_>) -> Played {
        let mut played = Played::default();
        if let Err(broken) = self.play_it(make, &mut played) {
            played.broke(broken);
        }
        played
    }

    fn panic(&mut self, _: &Host) -> Result<(), Broken> {
        let claim = Self::claim(&mut self.claim)?;
        self.panics
            .as_mut()
            .map_or(Ok(()), |panics| must_have_panicked(panics(claim)))
    }

    fn leave(&mut self) {
        self.claim = None;
    }
}
