//! What the strip under the game tells: which rules serve, since which tick, what the swap cost, what became of the old code, and
//! what went wrong. All of it comes from the host's events.

use reslot::{Event, Outcome, RollbackReason, Step};
use std::time::Duration;

/// The strip.
#[derive(Debug, Clone, Default)]
pub struct Strip {
    /// The generation that is called.
    pub generation: u64,
    /// What it says that it is.
    pub title: String,
    /// In which tick it came, how long the game stood still for it, and how much it found.
    pub swap: Option<Swap>,
    /// Frames that came too late to be shown.
    pub missed: u64,
    /// What became of the code before it.
    pub old: Option<Old>,
    /// What went wrong last, in the host's words; until rules come that go well.
    pub trouble: Option<String>,
    /// The tick that waits for rules which can do it.
    pub waits: Option<u64>,
    /// What the compiler said of the last save, if it refused it.
    pub not_built: Option<String>,
}

/// How rules came to serve.
#[derive(Debug, Clone, Copy)]
pub struct Swap {
    /// The tick before which they came.
    pub tick: u64,
    /// How long the host took for the step itself.
    pub pointer: Duration,
    /// How long the game's thread was in `sync`.
    pub pause: Duration,
    /// The bytes of state that were handed over.
    pub state_bytes: usize,
    /// The things, numbers and cells that the new rules found in the world.
    pub contents: usize,
    /// Whether they are those of before, and came back because others failed.
    pub is_rollback: bool,
    /// For how many frames the world stood until they were there.
    pub stood: u64,
}

/// What became of code that serves no more.
#[derive(Debug, Clone, PartialEq)]
pub enum Old {
    /// It waits, complete, until its successor has proved itself.
    StandsBy(u64),
    /// It was left, and is being ended.
    Ending(u64),
    /// Neither the loader nor the kernel knows it any more.
    ProvenGone(u64),
    /// It stays mapped, for this reason.
    Kept(u64, String),
}

impl Strip {
    /// Takes in what the host told.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Swapped(report) => {
                // Those who come back because others failed do not take that away.
                if self.swap.is_none_or(|swap| !swap.is_rollback) {
                    self.trouble = None;
                }
                self.old = report.replaced.map(Old::StandsBy);
                if let Some(swap) = &mut self.swap {
                    let step = report.steps.iter().find(|(step, _)| *step == Step::Swap);
                    swap.pointer = step.map_or(Duration::ZERO, |(_, took)| *took);
                    swap.state_bytes = report.state_bytes.unwrap_or(0);
                }
            }
            Event::RolledBack(report) => {
                // If somebody asked for it, what he asked it for stands there already.
                if !matches!(report.reason, RollbackReason::Asked) {
                    self.trouble = Some(format!("generation {} was left: {}", report.from, report.reason));
                }
                self.old = Some(Old::Ending(report.from));
                if let Some(swap) = &mut self.swap {
                    swap.pointer = report.total;
                }
            }
            Event::Retired(report) if report.served || matches!(report.outcome, Outcome::Quarantined(_)) => {
                self.old = Some(match &report.outcome {
                    Outcome::Quarantined(reason) => Old::Kept(report.generation, reason.to_string()),
                    _ => Old::ProvenGone(report.generation),
                });
            }
            Event::Released { generation, .. } => self.old = Some(Old::ProvenGone(*generation)),
            Event::Refused(_) | Event::CallFailed { .. } | Event::NoWayBack { .. } | Event::StillRefused { .. } => {
                self.trouble = Some(event.to_string());
            }
            _ => {}
        }
    }

    /// What is to be said when the rules of this generation have not come back for so long.
    pub fn hanging(generation: u64, since: Duration) -> String {
        format!(
            "The rules of generation {} have not come back for {} s.\nAn endless loop cannot be ended inside a process, and its code not be replaced under it.\nCorrect it, save, leave with q, and start again.",
            generation,
            since.as_secs()
        )
    }

    /// Its lines, the most important first.
    pub fn lines(&self) -> Vec<String> {
        let mut first = format!("generation {} ({})", self.generation, self.title);
        let mut second = format!("missed {} frames", self.missed);
        if let Some(swap) = &self.swap {
            let verb = if swap.is_rollback { "went back" } else { "swapped" };
            first += &format!(", {verb} at tick {}", swap.tick);
            if swap.stood > 0 {
                first += &format!(", for which the world stood {} frames", swap.stood);
            }
            second += &format!(
                "; swap {} µs, paused {} µs; kept {} things + {} bytes of state",
                swap.pointer.as_micros(),
                swap.pause.as_micros(),
                swap.contents,
                swap.state_bytes
            );
        }
        let third = match &self.old {
            None => "no old code yet".to_owned(),
            Some(Old::StandsBy(generation)) => format!("old code: generation {generation} stands by"),
            Some(Old::Ending(generation)) => format!("old code: generation {generation} is being ended"),
            Some(Old::ProvenGone(generation)) => format!("old code: generation {generation} proven gone"),
            Some(Old::Kept(generation, why)) => format!("old code: generation {generation} KEPT: {why}"),
        };
        let waits = self.waits.map(|tick| {
            format!("tick {tick} failed, and the world stands: the rules before are being loaded, and will do it again")
        });
        [Some(first), Some(second), Some(third), waits, self.trouble.clone()]
            .into_iter()
            .flatten()
            .collect()
    }
}
