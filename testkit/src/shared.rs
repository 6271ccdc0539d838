//! The shared form: many threads call through their own views. Under load the state cannot be compared, so each move is made
//! twice: under load, after which `adds_up` must hold, and with the load paused, where `same` must be equal before and
//! after.

use crate::{
    UpDownUp,
    actor::{Actor, Load, Move, Pace, Played, must_have_panicked},
    failure::{Broken, Failure, Problem},
    look::{Seen, Sight},
    report::Report,
    script,
};
use reslot::{CallError, Host, Slot};
use reslot_plugin_api::Shared as Interface;
use std::{
    fmt::Debug,
    panic::resume_unwind,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

type Client<I> = <I as reslot_plugin_api::Interface>::Client;
type Calls<'a, I> = Box<dyn Fn(&Client<I>) -> Result<(), Problem> + Sync + 'a>;
type Looks<'a, I> = Box<dyn Fn(&Client<I>) -> Result<Box<dyn Seen>, Problem> + 'a>;
type Sums<'a, I> = Box<dyn Fn(&Client<I>, u64) -> Result<(), Problem> + 'a>;
type Panics<'a, I> = Box<dyn Fn(&Client<I>) -> Result<(), CallError> + 'a>;

/// A run with many callers, from [`UpDownUp::shared`].
#[must_use = "nothing happens before `run`"]
pub struct Shared<'a, I: ?Sized + Interface> {
    settings: UpDownUp<I>,
    threads: usize,
    load: Calls<'a, I>,
    state: Option<Calls<'a, I>>,
    same: Vec<Looks<'a, I>>,
    adds_up: Option<Sums<'a, I>>,
    panics: Option<Panics<'a, I>>,
    slot: Option<Slot<I>>,
    /// The number of successful units since `state`.
    succeeded: u64,
}

impl<'a, I: ?Sized + Interface> Shared<'a, I> {
    pub(crate) fn new(settings: UpDownUp<I>, threads: usize, load: Calls<'a, I>) -> Self {
        Self {
            settings,
            threads: threads.max(1),
            load,
            state: None,
            same: Vec::new(),
            adds_up: None,
            panics: None,
            slot: None,
            succeeded: 0,
        }
    }

    /// Calls that give a new instance a state that could be lost. They are made once in each host of the run.
    pub fn state(mut self, state: impl Fn(&I::Client) -> Result<(), Problem> + Sync + 'a) -> Self {
        self.state = Some(Box::new(state));
        self
    }

    /// A value that must be the same before and after a move with paused load. It may be given several times. A plugin with
    /// state needs at least one, or [`adds_up`](Self::adds_up).
    pub fn same<T: PartialEq + Debug + 'static>(mut self, same: impl Fn(&I::Client) -> Result<T, Problem> + 'a) -> Self {
        self.same
            .push(Box::new(move |client| Ok(Box::new(same(client)?) as Box<dyn Seen>)));
        self
    }

    /// A check after a move under load. It gets the number of successful units of load since `state`, for example to compare
    /// it with a counter of the plugin. `Err` means that the check failed.
    pub fn adds_up(mut self, adds_up: impl Fn(&I::Client, u64) -> Result<(), Problem> + 'a) -> Self {
        self.adds_up = Some(Box::new(adds_up));
        self
    }

    /// A call that panics inside the plugin. With it the run also tests a new build that panics on probation: the host must
    /// roll back to the old one. Without it the report says that this was skipped.
    pub fn panics(mut self, panics: impl Fn(&I::Client) -> Result<(), CallError> + 'a) -> Self {
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

    fn slot(&self) -> Result<&Slot<I>, Broken> {
        self.slot
            .as_ref()
            .ok_or_else(|| Broken::Setup("nobody has the slot".to_owned()))
    }

    fn look(&self) -> Result<Sight, Broken> {
        let loaded = self.slot()?.load();
        let looks = self.same.iter().map(|look| look(&loaded));
        looks.collect::<Result<_, _>>().map_err(Broken::Look)
    }

    fn play_it(&mut self, host: &Host, pace: Pace, make: Move<'_>, played: &mut Played) -> Result<(), Broken> {
        match pace {
            Pace::Running => {
                let (load, answer) = self.under_load(host, make)?;
                played.pause = load.longest;
                played.load.add(load);
                played.answer = Some(answer);
            }
            Pace::Paused => {
                played.load.add(self.under_load(host, &|| Ok(()))?.0);
                played.before = self.look()?;
                played.answer = Some(make());
                played.after = self.look()?;
                played.load.add(self.under_load(host, &|| Ok(()))?.0);
            }
        }
        self.succeeded += played.load.units - played.load.failed;
        if let Some(adds_up) = &self.adds_up {
            let units = self.succeeded;
            let wrong = |why: Problem| Broken::DoesNotAddUp {
                units,
                why: why.to_string(),
            };
            adds_up(&self.slot()?.load(), units).map_err(wrong)?;
        }
        Ok(())
    }

    /// Starts all threads, makes the move after each thread has called, and lets them call some more.
    fn under_load(&self, host: &Host, make: Move<'_>) -> Result<(Load, Result<(), String>), Broken> {
        let (slot, call, units) = (self.slot()?, &self.load, self.settings.units);
        let done = &AtomicBool::new(false);
        let (warm, all_warm) = mpsc::channel::<()>();
        Ok(thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|_| {
                    let warm = warm.clone();
                    scope.spawn(move || {
                        let (mut load, mut reader) = (Load::default(), host.reader());
                        let mut unit = || load.unit(|| call(reader.view().get(slot)));
                        (0..units).for_each(|_| unit());
                        drop(warm);
                        while !done.load(Ordering::Relaxed) {
                            unit();
                        }
                        (0..units).for_each(|_| unit());
                        load
                    })
                })
                .collect();
            drop(warm);
            // `recv` returns when all threads have dropped their senders, also after a panic of the caller's code.
            let _ = all_warm.recv();
            let answer = make();
            done.store(true, Ordering::Relaxed);
            let mut load = Load::default();
            for thread in threads {
                load.add(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            (load, answer)
        }))
    }
}

impl<I: ?Sized + Interface> Actor for Shared<'_, I> {
    fn paces(&self) -> &'static [Pace] {
        match self.same.is_empty() {
            true => &[Pace::Running],
            false => &[Pace::Running, Pace::Paused],
        }
    }

    fn looks(&self) -> bool {
        !self.same.is_empty() || self.adds_up.is_some()
    }

    fn sums(&self) -> bool {
        self.adds_up.is_some()
    }

    fn panics(&self) -> bool {
        self.panics.is_some()
    }

    fn enter(&mut self, host: &Host, slot: &str) -> Result<(), Broken> {
        let slot = host.slot(slot).map_err(|error| Broken::Usage(error.to_string()))?;
        if let Some(state) = &self.state {
            state(&slot.load()).map_err(Broken::State)?;
        }
        self.slot = Some(slot);
        self.succeeded = 0;
        Ok(())
    }

    fn play(&mut self, host: &Host, pace: Pace, make: Move<'_>) -> Played {
        let mut played = Played::default();
        if let Err(broken) = self.play_it(host, pace, make, &mut played) {
            played.broke(broken);
        }
        played
    }

    fn panic(&mut self, _: &Host) -> Result<(), Broken> {
        let loaded = self.slot()?.load();
        self.panics
            .as_ref()
            .map_or(Ok(()), |panics| must_have_panicked(panics(&loaded)))
    }

    fn leave(&mut self) {
        self.slot = None;
    }
}
