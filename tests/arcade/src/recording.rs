//! The last five seconds, and playing them again under the rules before and under those that serve: looped editing, after Handmade Hero.
//! Each build is loaded into a host of its own, on a thread of its own, and begins with the state of a new plugin. (A
//! [`reslot::Shadow`] would begin with a copy of the state, but the game's thread would have to wait until it is loaded.)

use crate::world::Table;
use anyhow::Context;
use arcade_interfaces::{Cell, Input, Rules};
use reslot::{Event, Host, Policy};
use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
};

/// How many ticks are remembered.
pub const TICKS: usize = 300;

/// The worlds of the last ticks, each with what the player did in it.
#[derive(Debug, Clone, Default)]
pub struct Recording(VecDeque<(Table, Input)>);

/// What is left to be seen of ticks that were played again.
#[derive(Debug, Clone, PartialEq, Default)]
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

/// The bytes of a build, as soon as they are read; none if there are none. Kept here, because the host keeps only what has proved itself.
type Artifact = Arc<OnceLock<Option<Vec<u8>>>>;

/// The builds that can be compared, and what came of it.
pub struct Replay {
    /// Of the rules before, and of those that serve.
    artifacts: [Artifact; 2],
    on: Option<On>,
}

/// It is on.
struct On {
    recording: Recording,
    slot: String,
    playing: Option<JoinHandle<[anyhow::Result<Trail>; 2]>>,
    trails: [Trail; 2],
}

impl Default for Replay {
    fn default() -> Self {
        let none = Artifact::new(OnceLock::from(None));
        Self {
            artifacts: [none.clone(), none],
            on: None,
        }
    }
}

impl Replay {
    /// Takes in what the host told: other rules are other trails.
    pub fn hear(&mut self, event: &Event, host: &Arc<Host>) {
        match event {
            Event::Swapped(report) => {
                let new = Artifact::default();
                self.artifacts.swap(0, 1);
                self.artifacts[1] = new.clone();
                let (host, slot, hash) = (host.clone(), report.slot.clone(), report.hash);
                // Reading is nothing for a frame. If it cannot be read, the host tells why.
                thread::spawn(move || new.set(host.artifact(&slot, hash).ok()));
            }
            // To those who stood by, and not by another swap.
            Event::RolledBack(report) if report.to < report.from => self.artifacts.swap(0, 1),
            _ => return,
        }
        self.play();
    }

    /// Begins with what is recorded so far, or ends.
    pub fn toggle(&mut self, recording: &Recording, slot: &str) {
        self.on = match self.on {
            Some(_) => None,
            None => Some(On {
                recording: recording.clone(),
                slot: slot.to_owned(),
                playing: None,
                trails: Default::default(),
            }),
        };
        self.play();
    }

    fn play(&mut self) {
        let Some(on) = &mut self.on else { return };
        let (recording, slot, artifacts) = (on.recording.clone(), on.slot.clone(), self.artifacts.clone());
        let play = move |artifact: Artifact| match artifact.wait() {
            Some(artifact) => recording.play(&slot, artifact),
            None => Ok(Trail::default()),
        };
        on.playing = Some(thread::spawn(move || artifacts.map(play)));
    }

    /// Takes in what was played meanwhile.
    ///
    /// # Errors
    /// If it could not be.
    pub fn look(&mut self) -> anyhow::Result<()> {
        if let Some(on) = &mut self.on
            && let Some(playing) = on.playing.take_if(|playing| playing.is_finished())
            && let Ok([old, new]) = playing.join()
        {
            on.trails = Default::default();
            on.trails[0] = old.context("no trail of the old rules")?;
            on.trails[1] = new.context("no trail of the new rules")?;
        }
        Ok(())
    }

    /// The old rules' and the new ones'; none if it is off.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.on.as_ref().map(|on| &on.trails)
    }
}
