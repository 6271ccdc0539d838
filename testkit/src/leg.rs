//! One part of a run, with its own host: from the first load to the proof that nothing is left.

use crate::{
    actor::{Actor, Move, Pace, Played},
    failure::{Broken, Failure},
    look::{Sight, compare},
    report::{Moved, Report},
};
use reslot::{
    Event, Events, Host, HostBuilder, Outcome, QuarantineReason, Refusal, ReloadReport, RollbackReport, RollbackTarget,
    UnloadReport, mapped_copies,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Much longer than any unload takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// The number of events in a failure.
const TOLD: usize = 30;

/// A host under test, and its callers.
pub(crate) struct Leg<'a> {
    part: &'static str,
    at: String,
    pub(crate) host: Host,
    events: Events,
    /// All events of the host, in order.
    events_seen: Vec<Event>,
    pub(crate) actor: &'a mut dyn Actor,
    slot: String,
    folder: TempDir,
    report: &'a mut Report,
}

/// The result of a move, according to the host's events.
pub(crate) enum Came {
    Swapped(ReloadReport),
    RolledBack(RollbackReport),
    Refused(Refusal),
}

impl<'a> Leg<'a> {
    /// Builds the host, loads the first artifacts, lets the actor enter, and runs `body`.
    pub(crate) fn run(
        part: &'static str,
        host: HostBuilder,
        first: &[&Path],
        actor: &'a mut dyn Actor,
        report: &'a mut Report,
        body: impl FnOnce(&mut Leg<'_>) -> Result<(), Broken>,
    ) -> Result<(), Failure> {
        let setup = |error: &dyn std::fmt::Display| Failure::new(part, Broken::Setup(error.to_string()));
        let folder = tempfile::Builder::new().prefix("reslot-testkit-").tempdir();
        let folder = folder.map_err(|error| setup(&error))?;
        let host = host.build().map_err(|error| setup(&error))?;
        let events = host.events();
        let slot = report.slot.clone();
        let mut leg = Leg {
            part,
            at: format!("{part}, at the beginning"),
            host,
            events,
            events_seen: Vec::new(),
            actor,
            slot,
            folder,
            report,
        };
        let begun = leg.begin(first).and_then(|()| body(&mut leg));
        leg.end(begun)
    }

    fn begin(&mut self, first: &[&Path]) -> Result<(), Broken> {
        for path in first {
            let loaded = self.host.load(*path);
            loaded.map_err(|refusal| Broken::NotMoved(refusal.to_string()))?;
        }
        self.actor.enter(&self.host, &self.slot)
    }

    /// Drops the host in any case, and returns the first error.
    fn end(self, so_far: Result<(), Broken>) -> Result<(), Failure> {
        let Self {
            part,
            mut at,
            host,
            mut events,
            mut events_seen,
            actor,
            report,
            folder,
            ..
        } = self;
        actor.leave();
        let private = host.private_folder().to_owned();
        drop(host);
        let ended = so_far.and_then(|()| {
            at = format!("{part}, at the end");
            let deadline = Instant::now() + PATIENCE;
            while let Some(record) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                events_seen.push(record.event.clone());
            }
            let mut left_bytes = 0;
            for generation in generations(&events_seen) {
                match end_of(&events_seen, &generation) {
                    Some(Ok(unloaded)) => {
                        report.unmapped += 1;
                        left_bytes += unloaded.live_bytes_left.unwrap_or(0).saturating_sub(unloaded.bytes_freed);
                    }
                    Some(Err(why)) => {
                        return Err(Broken::StaysMapped {
                            generation: generation.1,
                            why,
                        });
                    }
                    None => {
                        return Err(Broken::StaysMapped {
                            generation: generation.1,
                            why: "the host did not report its end".to_owned(),
                        });
                    }
                }
            }
            report.left_bytes += left_bytes;
            match mapped_copies(&private) {
                0 => Ok(()),
                some => Err(Broken::Left(format!(
                    "{some} image(s) are in the loader's list, in {}",
                    private.display()
                ))),
            }
        });
        drop(folder);
        ended.map_err(|broken| {
            while let Some(record) = events.try_recv() {
                events_seen.push(record.event.clone());
            }
            let worth: Vec<_> = events_seen
                .iter()
                .filter(|event| !matches!(event, Event::Lifecycle { .. }))
                .map(ToString::to_string)
                .collect();
            let last = worth.len().saturating_sub(TOLD);
            Failure::new(at, broken).with_events(worth[last..].to_vec())
        })
    }

    /// Writes an artifact's file.
    pub(crate) fn file(&self, bytes: &[u8]) -> Result<PathBuf, Broken> {
        let path = self.folder.path().join("plugin.so");
        let new = self.folder.path().join(".plugin.so.new");
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Broken::Setup(format!("{} could not be written: {error}", path.display())))?;
        Ok(path)
    }

    /// Names the current move for failures.
    pub(crate) fn at(&mut self, words: &str) {
        self.at = format!("{}, {words}", self.part);
    }

    /// The current generation.
    pub(crate) fn serving(&self) -> u64 {
        let slots = self.host.slots();
        let slot = slots.iter().find(|slot| slot.name == self.slot);
        slot.and_then(|slot| slot.generation).unwrap_or(0)
    }

    /// Moves to an artifact.
    pub(crate) fn load(&mut self, what: &'static str, pace: Pace, path: &Path) -> Result<Sight, Broken> {
        self.at(&format!("{what} ({})", path.display()));
        let (played, came) = self.play(pace, |host| host.load(path).map(drop).map_err(|refusal| refusal.to_string()))?;
        match came {
            Some(Came::Swapped(report)) => {
                let played = self.moved(what, pace, played, report.replaced, report.generation, report.state_bytes);
                compare(&played.before, &played.after)?;
                Ok(played.after)
            }
            other => Err(not_moved(other, played.answer)),
        }
    }

    /// Rolls back, and returns the values of `same` afterwards. With `carried` they must equal the values before.
    pub(crate) fn rollback(&mut self, pace: Pace, carried: bool) -> Result<(Sight, RollbackReport), Broken> {
        self.at("rollback");
        let slot = self.slot.clone();
        let back = |host: &Host| {
            host.rollback(&slot, RollbackTarget::Previous)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        let (played, came) = self.play(pace, back)?;
        match came {
            Some(Came::RolledBack(report)) => {
                let (from, to) = (report.from, report.to);
                let bytes = match &report.state {
                    reslot::RestoredState::Carried { bytes } | reslot::RestoredState::Snapshot { bytes, .. } => Some(*bytes),
                    _ => None,
                };
                let played = self.moved("rollback", pace, played, Some(from), to, bytes);
                if carried {
                    compare(&played.before, &played.after)?;
                }
                self.gone(from)?;
                Ok((played.after, report))
            }
            other => Err(not_moved(other, played.answer)),
        }
    }

    /// Plays a move, and checks that no call failed.
    pub(crate) fn play(
        &mut self,
        pace: Pace,
        make: impl Fn(&Host) -> Result<(), String> + Sync,
    ) -> Result<(Played, Option<Came>), Broken> {
        self.hear();
        let heard = self.events_seen.len();
        let host = &self.host;
        let make: Move<'_> = &|| make(host);
        let mut played = self.actor.play(host, pace, make);
        self.hear();
        if let Some(broken) = played.broken.take() {
            return Err(broken);
        }
        let load = &played.load;
        self.report.units += load.units;
        self.report.longest = self.report.longest.max(load.longest);
        if load.failed > 0 {
            return Err(Broken::Calls {
                count: load.failed,
                units: load.units,
                first: load.first.clone().unwrap_or_default(),
            });
        }
        let came = self.events_seen[heard..].iter().find_map(|event| match event {
            Event::Swapped(report) if *report.slot == *self.slot => Some(Came::Swapped(report.clone())),
            Event::RolledBack(report) if *report.slot == *self.slot => Some(Came::RolledBack(report.clone())),
            Event::Refused(refusal) => Some(Came::Refused(refusal.clone())),
            _ => None,
        });
        Ok((played, came))
    }

    fn moved(
        &mut self,
        what: &'static str,
        pace: Pace,
        played: Played,
        from: Option<u64>,
        to: u64,
        state_bytes: Option<usize>,
    ) -> Played {
        self.report.moves.push(Moved {
            part: match pace {
                Pace::Running => self.part,
                Pace::Paused => "with the load paused",
            },
            what,
            from,
            to,
            units: played.load.units,
            longest: played.load.longest,
            pause: played.pause,
            state_bytes,
        });
        played
    }

    /// Waits until a generation is proven unmapped.
    pub(crate) fn gone(&mut self, generation: u64) -> Result<(), Broken> {
        let deadline = Instant::now() + PATIENCE;
        let wanted = (Arc::from(&*self.slot), generation);
        loop {
            match end_of(&self.events_seen, &wanted) {
                Some(Ok(_)) => return Ok(()),
                Some(Err(why)) => return Err(Broken::StaysMapped { generation, why }),
                None => {}
            }
            match self.events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Some(record) => self.events_seen.push(record.event.clone()),
                None => {
                    let why = format!("it did not end within {PATIENCE:?}: {:?}", self.host.who_holds(&self.slot));
                    return Err(Broken::StaysMapped { generation, why });
                }
            }
        }
    }

    /// The last reported rollback.
    pub(crate) fn rolled_back(&self) -> Option<RollbackReport> {
        self.events_seen.iter().rev().find_map(|event| match event {
            Event::RolledBack(report) if *report.slot == *self.slot => Some(report.clone()),
            _ => None,
        })
    }

    fn hear(&mut self) {
        while let Some(record) = self.events.try_recv() {
            self.events_seen.push(record.event.clone());
        }
    }

    pub(crate) fn report(&mut self) -> &mut Report {
        self.report
    }

    pub(crate) fn slot(&self) -> &str {
        &self.slot
    }
}

/// Why there was no move, from the first source that knows a reason.
pub(crate) fn not_moved(came: Option<Came>, answer: Option<Result<(), String>>) -> Broken {
    Broken::NotMoved(match (came, answer) {
        (Some(Came::Refused(refusal)), _) => refusal.to_string(),
        (Some(Came::RolledBack(report)), _) => format!("the slot was rolled back by itself: {}", report.reason),
        (Some(Came::Swapped(report)), _) => format!("generation {} became current instead", report.generation),
        (None, Some(Err(words))) => words,
        (None, _) => "the host reported no swap".to_owned(),
    })
}

/// All generations in the events.
fn generations(events_seen: &[Event]) -> BTreeSet<(Arc<str>, u64)> {
    let generations = events_seen.iter().filter_map(|event| match event {
        Event::Lifecycle { slot, generation, .. } => Some((slot.clone(), *generation)),
        _ => None,
    });
    generations.collect()
}

/// How a generation ended, if it did. A generation that is kept only by a hook that has not returned has not ended.
fn end_of(events_seen: &[Event], wanted: &(Arc<str>, u64)) -> Option<Result<UnloadReport, String>> {
    let (of, number) = wanted;
    events_seen.iter().rev().find_map(|event| match event {
        Event::Released {
            slot,
            generation,
            report,
            ..
        } if slot == of && generation == number => Some(Ok(report.clone())),
        Event::Retired(report) if report.slot == *of && report.generation == *number => match &report.outcome {
            Outcome::Unmapped(unloaded) => Some(Ok(unloaded.clone())),
            Outcome::ProcessEnded { .. } | Outcome::SandboxFreed => Some(Ok(UnloadReport::default())),
            Outcome::Quarantined(QuarantineReason::HookRunning(_)) => None,
            Outcome::Quarantined(reason) => Some(Err(reason.to_string())),
            _ => None,
        },
        _ => None,
    })
}
