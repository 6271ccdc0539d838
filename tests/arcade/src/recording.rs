//! The last five seconds, and playing them again under a build of the rules: looped editing, after Handmade Hero. The build is loaded
//! into a host of its own, on whatever thread wants to know, and begins with the state of a new plugin. (A [`reslot::Shadow`] would begin
//! with a copy of the state, but the game's thread would have to wait until it is loaded.)

use crate::world::Table;
use anyhow::Context;
use arcade_interfaces::{Cell, Input, Rules};
use reslot::{Host, Policy};
use std::{collections::VecDeque, fs};

/// How many ticks are remembered.
pub const TICKS: usize = 300;

/// The worlds of the last ticks, each with what the player did in it.
#[derive(Debug, Clone, Default)]
pub struct Recording(VecDeque<(Table, Input)>);

/// What is left to be seen of ticks that were played again.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// Where the balls were, tick by tick.
    pub balls: Vec<(f32, f32)>,
    /// The cells that live in the end.
    pub cells: Vec<Cell>,
}

impl Recording {
    /// Remembers one more, and forgets what is too long ago.
    pub fn remember(&mut self, before: Table, input: Input) {
        if self.0.len() == TICKS {
            self.0.pop_front();
        }
        self.0.push_back((before, input));
    }

    /// Plays all of it again from its first world, with the rules in these bytes. If they fail, the trail ends there.
    ///
    /// # Errors
    /// If the rules cannot be loaded.
    pub fn play(&self, slot: &str, artifact: &[u8]) -> anyhow::Result<Trail> {
        let folder = tempfile::tempdir().context("cannot make a folder for the replay")?;
        let file = folder.path().join("rules.so");
        fs::write(&file, artifact).with_context(|| format!("cannot write {}", file.display()))?;
        let host = Host::builder().policy(Policy::without_probation()).build()?;
        host.load(&file)?;
        let mut rules = host.claim::<dyn Rules>(slot)?;
        let mut trail = Trail::default();
        let Some((mut world, _)) = self.0.front().cloned() else {
            return Ok(trail);
        };
        for (_, input) in &self.0 {
            let before = world.clone();
            if rules.tick(&mut world, *input).is_err() {
                world = before;
                break;
            }
            world.advance();
            trail.balls.extend(world.balls());
        }
        trail.cells = world.living().to_vec();
        Ok(trail)
    }
}
