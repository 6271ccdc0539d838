//! The trading program of the demo: its loop runs all the time at a steady pace, while another thread rebuilds and publishes
//! the plugin. The program reads the host's events meanwhile.

use crate::timeline::Timeline;
use anyhow::{Context, bail};
use reslot::{Event, Events, Host, Outcome, RetireReport, UnloadReport};
use reslot_demo::desk::{Adoption, Desk};
use std::{
    sync::mpsc::{Receiver, TryRecvError},
    thread,
    time::{Duration, Instant},
};

/// The pause between two prices; with what the system adds to it, about ten thousand prices a second.
pub const PACE: Duration = Duration::from_micros(20);
/// How long anything that takes milliseconds may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The running program.
pub struct Course {
    /// The loop's own part.
    pub desk: Desk,
    events: Events,
}

/// One reload, from all sides.
pub struct Reload {
    /// The swap, as the loop saw it.
    pub adoption: Adoption,
    /// The times of the steps.
    pub timeline: Timeline,
    /// How the replaced generation ended.
    pub ended: RetireReport,
}

impl Reload {
    /// The unload report of the replaced image, if it was proven unmapped.
    pub fn unmapped(&self) -> Option<&UnloadReport> {
        match &self.ended.outcome {
            Outcome::Unmapped(report) => Some(report),
            _ => None,
        }
    }
}

impl Course {
    /// Starts after the host's present events.
    pub fn new(host: &Host, desk: Desk) -> Self {
        Self {
            desk,
            events: host.events(),
        }
    }

    /// Runs the loop, and calls `beside` now and then, until the other thread sends a message.
    pub fn run_until<T>(&mut self, said: &Receiver<anyhow::Result<T>>, mut beside: impl FnMut(&Desk)) -> anyhow::Result<T> {
        loop {
            self.desk.round();
            beside(&self.desk);
            match said.try_recv() {
                Ok(said) => return said,
                Err(TryRecvError::Empty) => thread::sleep(PACE),
                Err(TryRecvError::Disconnected) => bail!("the thread that builds has ended early"),
            }
        }
    }

    /// Runs the loop until the published build has been adopted, and the replaced generation has ended.
    pub fn run_through_reload(&mut self, renamed: &Receiver<anyhow::Result<Instant>>) -> anyhow::Result<Reload> {
        let deadline = Instant::now() + PATIENCE;
        let (mut moment, mut adoption, mut report, mut ended) = (None, None, None, None);
        loop {
            if let Some(adopted) = self.desk.round() {
                adoption = Some(adopted);
            }
            match renamed.try_recv() {
                Ok(at) => moment = Some(at?),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    moment.context("the thread that publishes has ended early")?;
                }
            }
            while let Some(record) = self.events.try_recv() {
                match &record.event {
                    Event::Swapped(swapped) if swapped.replaced.is_some() => report = Some(swapped.clone()),
                    Event::Retired(retired) => ended = Some(retired.clone()),
                    Event::Refused(refusal) => bail!("the host refused the new build: {refusal}"),
                    Event::Lagged { missed } => bail!("{missed} of the host's events were missed"),
                    _ => {}
                }
            }
            if let (Some(renamed), Some(adoption), Some(report), Some(_)) = (moment, &adoption, &report, &ended) {
                return Ok(Reload {
                    timeline: Timeline::new(renamed, report, adoption),
                    adoption: adoption.clone(),
                    ended: ended.take().context("looked at above")?,
                });
            }
            if Instant::now() > deadline {
                bail!(
                    "the new build was published {PATIENCE:?} ago, and the reload has not ended (adopted: {})",
                    adoption.is_some()
                );
            }
            thread::sleep(PACE);
        }
    }
}
