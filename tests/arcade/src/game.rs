//! The game: a world, the rules that are called for each tick, and what is done when they change or fail.

use crate::{
    recording::{Recording, Replay, Trail},
    strip::{Strip, Swap},
    world::Table,
};
use anyhow::Context;
use arcade_interfaces::{Input, Rules, World};
use reslot::{Claim, Events, Host, Policy, RollbackTarget, SyncOutcome};
use std::{mem, path::Path, sync::Arc, time::Duration};

/// How many ticks there are in a second.
pub const RATE: u32 = 60;

/// A game that runs.
pub struct Game {
    /// The name of what is played.
    pub slot: String,
    rules: Claim<dyn Rules>,
    events: Events,
    /// The world as it is after the last tick.
    pub world: Table,
    /// What is told of the rules.
    pub strip: Strip,
    recording: Recording,
    replay: Replay,
    /// The generation before which there is nothing to go back to.
    last: Option<u64>,
    /// To look at, also from another thread while the rules do not come back. Dropped after the claim.
    pub host: Arc<Host>,
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
    /// build of them. The policy says when rules have proved themselves.
    ///
    /// # Errors
    /// If there are no such rules.
    pub fn open(folder: &Path, slot: &str, world: Table, policy: Policy) -> anyhow::Result<Self> {
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
            replay: Replay::default(),
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
    /// host happens to be loading at this moment.
    fn leave(&mut self) -> bool {
        if self.sync() {
            return true;
        }
        let generation = Claim::generation(&self.rules);
        if self.last == generation {
            return false;
        }
        // Why not, if they are not left, is told by an event.
        let synced = Claim::rollback(&mut self.rules, RollbackTarget::Previous).unwrap_or(SyncOutcome::Unchanged);
        let has_left = self.has_moved(synced);
        if !has_left {
            self.last = generation;
        }
        has_left
    }

    /// Between two ticks, or before a tick is done again. Answers whether other rules came.
    fn sync(&mut self) -> bool {
        let synced = Claim::sync(&mut self.rules);
        self.has_moved(synced)
    }

    fn has_moved(&mut self, synced: SyncOutcome) -> bool {
        let is_rollback = matches!(synced, SyncOutcome::RolledBack { .. });
        let has_moved = is_rollback || matches!(synced, SyncOutcome::Adopted { .. });
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

    /// Takes in what the host has told since.
    fn listen(&mut self) {
        while let Some(record) = self.events.try_recv() {
            self.strip.hear(&record.event);
            self.replay.hear(&record.event, &self.host);
        }
        if let Some(generation) = Claim::generation(&self.rules) {
            self.strip.generation = generation;
        }
        if let Ok(title) = self.rules.title() {
            self.strip.title = title;
        }
        if let Err(error) = self.replay.look() {
            self.strip.trouble = Some(format!("{error:#}"));
        }
    }

    /// Plays the last five seconds again beside the game, or stops doing so. While it is on, each new build is tried on them.
    pub fn toggle_replay(&mut self) {
        self.replay.toggle(&self.recording, &self.slot);
    }

    /// What the last seconds looked like under the old rules and under the new ones; none if nobody asked.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.replay.trails()
    }
}
