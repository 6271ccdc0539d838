//! Records the last five seconds, and replays them under the previous and under the current rules: looped editing, after
//! Handmade Hero. Each build is loaded into a host of its own, on a thread of its own, and begins with the state of a new
//! plugin. (A [`reslot::Shadow`] would begin with a copy of the state, but the game's thread would have to wait until it is
//! loaded.)

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

/// The visible result of a replay.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trail {
    /// Where the balls were, tick by tick.
    pub balls: Vec<(f32, f32)>,
    /// The cells that live at the end.
    pub cells: Vec<Cell>,
}

impl Recording {
    /// Adds a tick, and drops the oldest if the recording is full.
    pub fn remember(&mut self, before: Table, input: Input) {
        if self.0.len() == TICKS {
            self.0.pop_front();
        }
        self.0.push_back((before, input));
    }

    /// Replays the recording from its first world, with the rules in these bytes. If they fail, the trail ends there.
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

/// The bytes of a build, once they are read; none if reading failed. The replay keeps them itself, because the host keeps
/// only builds that have passed their probation.
type Artifact = Arc<OnceLock<Option<Vec<u8>>>>;

/// The builds to compare, and the result.
pub struct Replay {
    /// The previous rules and the current ones.
    artifacts: [Artifact; 2],
    on: Option<On>,
}

/// The state of a replay that is on.
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
    /// Reads an event of the host: other rules need new trails.
    pub fn hear(&mut self, event: &Event, host: &Arc<Host>) {
        match event {
            Event::Swapped(report) => {
                let new = Artifact::default();
                self.artifacts.swap(0, 1);
                self.artifacts[1] = new.clone();
                let (host, slot, hash) = (host.clone(), report.slot.clone(), report.hash);
                // Reading would take too long for a frame. If it fails, the host reports why.
                thread::spawn(move || new.set(host.artifact(&slot, hash).ok()));
            }
            // A rollback to the standby, not a rollback that loaded a new generation.
            Event::RolledBack(report) if report.to < report.from => self.artifacts.swap(0, 1),
            _ => return,
        }
        self.play();
    }

    /// Starts a replay of the recording so far, or ends the replay.
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

    /// Takes the results of the replay threads.
    ///
    /// # Errors
    /// If a replay failed.
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

    /// The trails of the old and the new rules; none if the replay is off.
    pub fn trails(&self) -> Option<&[Trail; 2]> {
        self.on.as_ref().map(|on| &on.trails)
    }
}
