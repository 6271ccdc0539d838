//! The game: a world, the rules that it calls at each tick, and the handling of new and of failed rules.

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

/// A running game.
pub struct Game {
    /// The name of the slot with the rules.
    pub slot: String,
    rules: Claim<dyn Rules>,
    events: Events,
    /// The world as it is after the last tick.
    pub world: Table,
    /// The status lines about the rules.
    pub strip: Strip,
    recording: Recording,
    replay: Replay,
    /// The oldest generation: no rollback is possible from it.
    last: Option<u64>,
    /// Another thread inspects it while a call into the rules hangs. It is dropped after the claim.
    pub host: Arc<Host>,
}

/// The result of a tick.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticked {
    /// Other rules were adopted before it or in the middle of it.
    pub swapped: bool,
    /// The first rules failed in it, and other rules did it again.
    pub redone: bool,
    /// The world has advanced. It has not if no working rules were left.
    pub done: bool,
}

impl Game {
    /// Begins a game with the rules of this name in the folder, and adopts each newer build of them. The folder holds no
    /// other plugin. The policy says how long the probation of new rules lasts.
    ///
    /// # Errors
    /// If the folder has no such rules.
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

    /// One frame: adopts new rules and runs the tick. If the rules fail, the game rolls back, and the previous rules run the
    /// same tick in the same frame.
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

    /// The rules get a copy of the world. The game keeps the copy if the call succeeds, and drops it otherwise.
    fn try_tick(&mut self, input: Input) -> bool {
        let mut world = self.world.clone();
        if self.rules.tick(&mut world, input).is_err() {
            return false;
        }
        world.advance();
        self.recording.remember(mem::replace(&mut self.world, world), input);
        true
    }

    /// Rolls back from rules that failed. Returns false if no earlier rules exist.
    ///
    /// During probation the host has recorded the fault and the previous rules are the standby: `sync` rolls back to them in
    /// microseconds. After probation the host loads them again from its history, which takes milliseconds; the frame waits
    /// for that, and for any build that the host is loading at this moment.
    fn leave(&mut self) -> bool {
        if self.sync() {
            return true;
        }
        let generation = Claim::generation(&self.rules);
        if self.last == generation {
            return false;
        }
        // If no rollback happens, an event says why.
        let synced = Claim::rollback(&mut self.rules, RollbackTarget::Previous).unwrap_or(SyncOutcome::Unchanged);
        let has_left = self.has_moved(synced);
        if !has_left {
            self.last = generation;
        }
        has_left
    }

    /// The safe point: between two ticks, or before a tick is repeated. Returns whether other rules were adopted.
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

    /// Reads the host's new events.
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

    /// The trails of the last seconds under the old and the new rules; none if the replay is off.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.replay.trails()
    }
}
