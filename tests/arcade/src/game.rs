//! The game: a world, the rules that are called for each tick, and what is done when they change or fail.

use crate::{
    recording::{Recording, Trail},
    strip::{Strip, Swap},
    world::Table,
};
use anyhow::Context;
use arcade_interfaces::{Input, Rules, World};
use reslot::{Claim, Event, Events, Host, Policy, Synced, To};
use std::{
    mem,
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
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
    /// Of the rules before, and of those that serve: for the replay, because the host keeps only what has proved itself.
    artifacts: [Option<Arc<[u8]>>; 2],
    replay: Option<Replay>,
    /// The generation before which there is nothing to go back to.
    last: Option<u64>,
    /// After the claim: dropped after it.
    host: Arc<Host>,
}

/// The last seconds, played again under the rules before and under those that serve.
#[derive(Default)]
struct Replay {
    recording: Recording,
    playing: Option<JoinHandle<[Option<anyhow::Result<Trail>>; 2]>>,
    trails: [Trail; 2],
}

/// What a tick was like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticked {
    /// Other rules came before it, or in the middle of it.
    pub swapped: bool,
    /// It was begun by rules that failed, and done again by others.
    pub redone: bool,
    /// The world has moved on. It has not if nobody was left who could do the tick.
    pub done: bool,
}

impl Game {
    /// Begins a game with the rules of this name that are published in the folder, which is theirs alone, and goes on with each newer
    /// build of them. Rules that fail in their first two seconds (see [`Policy::development`]), or later, are left for those before.
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
            artifacts: [None, None],
            replay: None,
            last: None,
            host: Arc::new(host),
        };
        game.listen();
        Ok(game)
    }

    /// One frame: adopts what is new, and has the rules do the tick. If they fail, they are left, and those before them do the same
    /// tick again, in the same frame.
    pub fn tick(&mut self, input: Input) -> Ticked {
        let mut ticked = Ticked {
            swapped: self.sync(),
            ..Ticked::default()
        };
        ticked.done = self.try_tick(input);
        while !ticked.done && self.leave() {
            (ticked.swapped, ticked.redone) = (true, true);
            ticked.done = self.try_tick(input);
        }
        self.listen();
        ticked
    }

    /// The rules get a copy of the world, which is taken if they come back, and else thrown away with whatever they did to it.
    fn try_tick(&mut self, input: Input) -> bool {
        let mut world = self.world.clone();
        if self.rules.tick(&mut world, input).is_err() {
            return false;
        }
        world.advance();
        self.recording.remember(mem::replace(&mut self.world, world), input);
        true
    }

    /// Leaves rules that failed. False if there is nobody before them.
    ///
    /// On probation the host has noted the fault: those before stand by, and `sync` goes back to them in microseconds. Later they are
    /// loaded again from what the host has kept, which takes milliseconds; the frame waits for that, and for a build that the
    /// host happens to be loading at this moment. (With a [`Policy::preflight`] another thread has to ask: a preflight asks the owner for
    /// the state, in `sync`, where he is not while he waits.)
    fn leave(&mut self) -> bool {
        if self.sync() {
            return true;
        }
        let generation = Claim::generation(&self.rules);
        if self.last == Some(generation) {
            return false;
        }
        // What becomes of it is told by an event.
        let _ = self.host.rollback(&self.slot, To::Previous);
        let has_left = self.sync();
        if !has_left {
            self.last = Some(generation);
        }
        has_left
    }

    /// Between two ticks, or before a tick is done again. Answers whether other rules came.
    fn sync(&mut self) -> bool {
        let synced = self.rules.sync();
        let is_rollback = matches!(synced, Synced::RolledBack { .. });
        let has_moved = is_rollback || matches!(synced, Synced::Adopted { .. });
        if has_moved {
            self.strip.swap = Some(Swap {
                tick: self.world.ticks(),
                pause: Duration::ZERO,
                state_bytes: 0,
                contents: self.world.contents(),
                is_rollback,
            });
        }
        has_moved
    }

    /// Takes in what the host has told since, and the replay.
    fn listen(&mut self) {
        while let Some(record) = self.events.try_recv() {
            self.strip.hear(&record.event);
            match &record.event {
                Event::Swapped(report) => {
                    let new = self.host.artifact(&report.slot, &report.hash).ok();
                    self.artifacts = [self.artifacts[1].take(), new.map(Arc::from)];
                    self.replay_again();
                }
                // To those who stood by, and not by another swap.
                Event::RolledBack(report) if report.to < report.from => {
                    self.artifacts.swap(0, 1);
                    self.replay_again();
                }
                _ => {}
            }
        }
        self.strip.generation = Claim::generation(&self.rules);
        if let Ok(title) = self.rules.title() {
            self.strip.title = title;
        }
        if let Some(replay) = &mut self.replay
            && let Some(playing) = replay.playing.take_if(|playing| playing.is_finished())
            && let Ok(played) = playing.join()
        {
            for ((trail, played), whose) in replay.trails.iter_mut().zip(played).zip(["old", "new"]) {
                *trail = played.transpose().map(Option::unwrap_or_default).unwrap_or_else(|error| {
                    self.strip.trouble = Some(format!("no trail of the {whose} rules: {error:#}"));
                    Trail::default()
                });
            }
        }
    }

    /// Plays the last five seconds again beside the game, or stops doing so. While it is on, each new build is tried on them.
    pub fn toggle_replay(&mut self) {
        self.replay = match self.replay {
            Some(_) => None,
            None => Some(Replay {
                recording: self.recording.clone(),
                ..Replay::default()
            }),
        };
        self.replay_again();
    }

    /// On a thread of its own: the game goes on.
    fn replay_again(&mut self) {
        let Some(replay) = &mut self.replay else { return };
        let (recording, slot, artifacts) = (replay.recording.clone(), self.slot.clone(), self.artifacts.clone());
        let play = move |artifact: Option<Arc<[u8]>>| artifact.map(|artifact| recording.play(&slot, &artifact));
        replay.playing = Some(thread::spawn(move || artifacts.map(play)));
    }

    /// What the last seconds looked like under the old rules and under the new ones; none if nobody asked.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.replay.as_ref().map(|replay| &replay.trails)
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

    /// The host, to look at, also from another thread while the rules do not come back.
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }
}
