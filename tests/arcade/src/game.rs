//! The game: a world, the rules that are called for each tick, and what is done when they change or fail.

use crate::{
    recording::{Recording, Trail},
    strip::{Strip, Swap},
    world::Table,
};
use anyhow::Context;
use arcade_interfaces::{Input, Rules};
use reslot::{Claim, Event, Events, Host, Policy, Synced, To};
use std::{
    path::Path,
    sync::mpsc::{self, Receiver},
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
    /// After the claim: dropped after it.
    host: Host,
}

/// The last seconds, played again under the old rules and the new ones.
pub struct Replay {
    recording: Recording,
    coming: Option<Receiver<anyhow::Result<[Trail; 2]>>>,
    trails: [Trail; 2],
}

/// What a tick was like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticked {
    /// Other rules came before it, or in the middle of it.
    pub swapped: bool,
    /// It was begun by rules that failed, and done again by those before them.
    pub redone: bool,
    /// The world has moved on. It has not if nobody was left who could do the tick.
    pub done: bool,
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
            host,
        };
        game.listen();
        Ok(game)
    }

    /// One tick: adopts what is new, has the rules do the tick on a copy of the world, and takes the copy if they came back. If
    /// they did not, the copy is thrown away, the rules are left, and those before them do the tick again.
    pub fn tick(&mut self, input: Input) -> Ticked {
        let begun = Instant::now();
        let mut ticked = Ticked::default();
        self.sync(&mut ticked);
        let mut world = self.world.clone();
        let mut result = self.rules.tick(&mut world, input);
        if result.is_err() && self.go_back(&mut ticked) {
            ticked.redone = true;
            world = self.world.clone();
            result = self.rules.tick(&mut world, input);
        }
        if result.is_ok() {
            ticked.done = true;
            world.advance();
            self.recording.remember(std::mem::replace(&mut self.world, world), input);
        }
        self.listen();
        ticked.took = begun.elapsed();
        ticked
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
            });
        }
        moved
    }

    /// On probation the host has noted the fault, and the next `sync` goes back. Later it is asked to: what was before is kept.
    fn go_back(&mut self, ticked: &mut Ticked) -> bool {
        if self.sync(ticked) {
            return true;
        }
        self.host.rollback(&self.slot, To::Previous).is_ok() && self.sync(ticked)
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
            match answer {
                Ok(trails) => replay.trails = trails,
                Err(error) => self.strip.trouble = Some(format!("no replay: {error:#}")),
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
        let (new, old) = &self.versions;
        let artifact = |version: &Option<String>| match version {
            Some(version) => self.host.artifact(&self.slot, version).map(Some),
            None => Ok(None),
        };
        let (new, old) = (artifact(new), artifact(old));
        let (sender, coming) = mpsc::channel();
        let (recording, slot) = (replay.recording.clone(), self.slot.clone());
        replay.coming = Some(coming);
        thread::spawn(move || {
            let play = |artifact: Result<Option<Vec<u8>>, reslot::RollbackError>| match artifact? {
                Some(artifact) => recording.play(&slot, &artifact),
                None => Ok(Trail::new()),
            };
            let trails = play(old).and_then(|old| Ok([old, play(new)?]));
            // Fails only if nobody wants to see it any more.
            let _ = sender.send(trails);
        });
    }

    /// What the last seconds looked like under the old rules and under the new ones; none if nobody asked.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.replay.as_ref().map(|replay| &replay.trails)
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
