//! The last five seconds, and playing them again under two builds of the rules: looped editing, after Handmade Hero. Each build
//! is loaded into a host of its own, so that what serves is not touched, and begins with the state of a new plugin.

use crate::world::Table;
use anyhow::Context;
use arcade_interfaces::{Input, Rules};
use reslot::{Host, Policy};
use std::{collections::VecDeque, fs};

/// How many ticks are remembered.
pub const TICKS: usize = 300;

/// The worlds of the last ticks, each with what the player did in it.
#[derive(Debug, Clone, Default)]
pub struct Recording(VecDeque<(Table, Input)>);

/// Where the balls were, tick by tick.
pub type Trail = Vec<(f32, f32)>;

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
        let mut trail = Trail::new();
        let Some((mut world, _)) = self.0.front().cloned() else {
            return Ok(trail);
        };
        for (_, input) in &self.0 {
            if rules.tick(&mut world, *input).is_err() {
                break;
            }
            world.advance();
            trail.extend(world.balls());
        }
        Ok(trail)
    }
}
