//! The game: a world, the rules that are called for each tick, and what is done when they change or fail.

use crate::{
    recording::{Recording, Trail},
    strip::{Strip, Swap},
    world::Table,
};
use anyhow::Context;
use arcade_interfaces::{Input, Rules};
use reslot::{Claim, Event, Events, Host, LoadOutcome, Policy, RollbackError, Synced, To};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

/// How many ticks there are in a second.
pub const RATE: u32 = 60;

/// A game that runs.
pub struct Game {
    slot: String,
    rules: Claim<dyn Rules>,
    events: Events,
    world: Table,
    strip: Strip,
    recording: Recording,
    /// The content of the rules that serve, and of those before them.
    versions: (Option<String>, Option<String>),
    replay: Option<Replay>,
    waiting: Option<Waiting>,
    /// The generation before which there is nothing to go back to.
    last: Option<u64>,
    calling: Arc<AtomicU64>,
    /// After the claim: dropped after it.
    host: Arc<Host>,
}

/// A tick that failed, for which the rules before are being loaded. The world stands meanwhile: a tick left out would be lost.
struct Waiting {
    input: Input,
    generation: u64,
    answer: Receiver<Result<LoadOutcome, RollbackError>>,
    /// How many frames the world has stood.
    frames: u64,
    /// The answer was there before this frame's `sync`.
    is_answered: bool,
}

/// The last seconds, played again under the old rules and the new ones.
pub struct Replay {
    recording: Recording,
    coming: Option<Receiver<[anyhow::Result<Trail>; 2]>>,
    trails: [Trail; 2],
}

/// What a tick was like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticked {
    /// Other rules came before it, or in the middle of it.
    pub swapped: bool,
    /// It was begun by rules that failed, and done again by those before them.
    pub redone: bool,
    /// The world has moved on. It has not while the tick waits, or if nobody was left who could do it.
    pub done: bool,
    /// It failed, and the rules that are to do it again are being loaded.
    pub waits: bool,
    /// How long `sync` took in it.
    pub pause: Duration,
    /// How long all of it took.
    pub took: Duration,
}

impl Game {
    /// Begins a game with the rules of this name that are published in the folder, and goes on with each newer build of them. Rules
    /// that fail in their first two seconds (see [`Policy::development`]), or later, are left for those before them.
    ///
    /// # Errors
    /// If there are no such rules.
    pub fn open(folder: &Path, slot: &str, world: Table) -> anyhow::Result<Self> {
        Self::open_with(folder, slot, world, Policy::development())
    }

    /// The same with another idea of when rules have proved themselves.
    ///
    /// # Errors
    /// If there are no such rules.
    pub fn open_with(folder: &Path, slot: &str, world: Table, policy: Policy) -> anyhow::Result<Self> {
        let host = Host::builder().policy(policy).watch(folder).build()?;
        let rules = host.claim::<dyn Rules>(slot).with_context(|| {
            format!(
                "{} has no rules; publish some: cargo xtask build-plugin {slot}",
                folder.display()
            )
        })?;
        let mut game = Self {
            slot: slot.to_owned(),
            rules,
            events: host.events(),
            world,
            strip: Strip::default(),
            recording: Recording::default(),
            versions: (None, None),
            replay: None,
            waiting: None,
            last: None,
            calling: Arc::default(),
            host: Arc::new(host),
        };
        game.listen();
        Ok(game)
    }

    /// One frame: adopts what is new, has the rules do the tick on a copy of the world, and takes the copy if they came back. If
    /// they did not, the copy is thrown away, the rules are left, and those before them do the tick again: at once if they stand
    /// by, else as soon as another thread has loaded them.
    pub fn tick(&mut self, input: Input) -> Ticked {
        let begun = Instant::now();
        let mut ticked = Ticked::default();
        let moved = self.sync(&mut ticked);
        if let Some(input) = self.input_of_the_tick(moved, input) {
            ticked.redone = moved && self.waiting.is_some();
            self.strip.waits = None;
            self.waiting = None;
            self.do_tick(&mut ticked, input);
        }
        ticked.waits = self.waiting.is_some();
        self.listen();
        ticked.took = begun.elapsed();
        ticked
    }

    /// What the player did in the tick that is to be done now; none if it waits.
    fn input_of_the_tick(&mut self, moved: bool, input: Input) -> Option<Input> {
        let Some(waiting) = &mut self.waiting else {
            return Some(input);
        };
        // Its own, and no shot of the player's is lost.
        waiting.input.fire |= input.fire;
        if moved {
            if let Some(swap) = &mut self.strip.swap {
                swap.stood = waiting.frames;
            }
            return Some(waiting.input);
        }
        // What was loaded is adopted by the first `sync` after the answer, or not at all.
        let is_over = std::mem::replace(
            &mut waiting.is_answered,
            !matches!(waiting.answer.try_recv(), Err(TryRecvError::Empty)),
        );
        if is_over {
            // Perhaps they can do it now, with what the player does now.
            self.last = Some(waiting.generation);
            return Some(Input {
                fire: waiting.input.fire,
                ..input
            });
        }
        waiting.frames += 1;
        None
    }

    fn do_tick(&mut self, ticked: &mut Ticked, input: Input) {
        let mut world = self.world.clone();
        self.calling.store(Claim::generation(&self.rules), Ordering::Relaxed);
        let mut result = self.rules.tick(&mut world, input);
        // On probation the host has noted the fault, and goes back.
        if result.is_err() && self.sync(ticked) {
            ticked.redone = true;
            world = self.world.clone();
            self.calling.store(Claim::generation(&self.rules), Ordering::Relaxed);
            result = self.rules.tick(&mut world, input);
        }
        if result.is_ok() {
            ticked.done = true;
            world.advance();
            self.recording.remember(std::mem::replace(&mut self.world, world), input);
        } else {
            self.ask_back(input);
        }
    }

    /// After probation, the rules before are loaded again from what the host has kept, on another thread: it takes frames.
    fn ask_back(&mut self, input: Input) {
        let generation = Claim::generation(&self.rules);
        if self.last == Some(generation) {
            return;
        }
        let (sender, answer) = mpsc::channel();
        let (host, slot) = (self.host.clone(), self.slot.clone());
        // Fails only if the game has ended.
        thread::spawn(move || drop(sender.send(host.rollback(&slot, To::Previous))));
        self.strip.waits = Some(arcade_interfaces::World::ticks(&self.world));
        self.waiting = Some(Waiting {
            input,
            generation,
            answer,
            frames: 1,
            is_answered: false,
        });
    }

    fn sync(&mut self, ticked: &mut Ticked) -> bool {
        let begun = Instant::now();
        let synced = self.rules.sync();
        let pause = begun.elapsed();
        ticked.pause += pause;
        let is_rollback = matches!(synced, Synced::RolledBack { .. });
        let moved = is_rollback || matches!(synced, Synced::Adopted { .. });
        if moved {
            ticked.swapped = true;
            self.strip.swap = Some(Swap {
                tick: arcade_interfaces::World::ticks(&self.world),
                pointer: Duration::ZERO,
                pause,
                state_bytes: 0,
                contents: self.world.contents(),
                is_rollback,
                stood: 0,
            });
        }
        moved
    }

    /// Takes in what the host told since.
    fn listen(&mut self) {
        while let Some(record) = self.events.try_recv() {
            self.strip.hear(&record.event);
            match &record.event {
                Event::Swapped(report) if *report.slot == *self.slot => {
                    self.versions = (Some(report.hash.clone()), self.versions.0.take());
                    self.replay_again();
                }
                Event::RolledBack(_) => self.versions.0 = self.versions.1.take(),
                _ => {}
            }
        }
        self.strip.generation = Claim::generation(&self.rules);
        if let Ok(title) = self.rules.title() {
            self.strip.title = title;
        }
        if let Some(replay) = &mut self.replay
            && let Some(answer) = replay.coming.as_ref().and_then(|coming| coming.try_recv().ok())
        {
            replay.coming = None;
            replay.trails = Default::default();
            for ((trail, answer), whose) in replay.trails.iter_mut().zip(answer).zip(["old", "new"]) {
                match answer {
                    Ok(played) => *trail = played,
                    // The host keeps what has proved itself, and what serves.
                    Err(error) => self.strip.trouble = Some(format!("no trail of the {whose} rules: {error:#}")),
                }
            }
        }
    }

    /// Plays the last five seconds again beside the game, or stops doing so. While it is on, each new build is tried on them.
    pub fn toggle_replay(&mut self) {
        match self.replay.take() {
            Some(_) => {}
            None => {
                self.replay = Some(Replay {
                    recording: self.recording.clone(),
                    coming: None,
                    trails: Default::default(),
                });
                self.replay_again();
            }
        }
    }

    /// On a thread of its own: the game goes on.
    fn replay_again(&mut self) {
        let Some(replay) = &mut self.replay else { return };
        let (sender, coming) = mpsc::channel();
        let (recording, slot, host) = (replay.recording.clone(), self.slot.clone(), self.host.clone());
        let (new, old) = self.versions.clone();
        replay.coming = Some(coming);
        thread::spawn(move || {
            let play = |version: Option<String>| match version {
                Some(version) => recording.play(&slot, &host.artifact(&slot, &version)?),
                None => Ok(Trail::new()),
            };
            // Fails only if nobody wants to see it any more.
            let _ = sender.send([play(old), play(new)]);
        });
    }

    /// What the last seconds looked like under the old rules and under the new ones; none if nobody asked.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.replay.as_ref().map(|replay| &replay.trails)
    }

    /// The generation that was called last, for another thread: it may not have come back.
    pub fn calling(&self) -> Arc<AtomicU64> {
        self.calling.clone()
    }

    /// The name of what is played.
    pub fn slot(&self) -> &str {
        &self.slot
    }

    /// The world as it is after the last tick.
    pub fn world(&self) -> &Table {
        &self.world
    }

    /// What the strip tells.
    pub fn strip(&self) -> &Strip {
        &self.strip
    }

    /// For what is found out elsewhere: missed frames, the compiler's words.
    pub fn strip_mut(&mut self) -> &mut Strip {
        &mut self.strip
    }

    /// The host, to look at.
    pub fn host(&self) -> &Host {
        &self.host
    }
}
