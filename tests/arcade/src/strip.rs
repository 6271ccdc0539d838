//! What the strip under the game tells: which rules serve, since which tick, what the swap cost, what became of the old code, and
//! what went wrong. All of it comes from the host's events, and most of it in the host's words.

use reslot::{Event, Outcome, RestoredState, RollbackReason};
use std::time::Duration;

/// The strip.
#[derive(Debug, Clone, Default)]
pub struct Strip {
    /// The generation that is called.
    pub generation: u64,
    /// What it says that it is.
    pub title: String,
    /// How it came to serve, if it is not the first.
    pub swap: Option<Swap>,
    /// Frames that came too late to be shown.
    pub missed: u64,
    /// What became of the code before it.
    pub old: Option<String>,
    /// What went wrong last; until rules come that go well.
    pub trouble: Option<String>,
    /// What the compiler said of the last save, if it refused it.
    pub not_built: Option<String>,
}

/// How rules came to serve.
#[derive(Debug, Clone, Copy)]
pub struct Swap {
    /// The tick before which they came.
    pub tick: u64,
    /// How long the game stood still for it.
    pub pause: Duration,
    /// The bytes of state that were handed over.
    pub state_bytes: usize,
    /// The things, numbers and cells that they found in the world.
    pub contents: usize,
    /// Whether they are those of before, and came back because others failed.
    pub is_rollback: bool,
}

impl Strip {
    /// Takes in what the host told.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Swapped(report) => {
                self.old = report.replaced.map(|old| format!("generation {old} stands by"));
                let Some(swap) = &mut self.swap else { return };
                (swap.pause, swap.state_bytes) = (report.pause, report.state_bytes.unwrap_or(0));
                // Those who come back because others failed do not take that away.
                if !swap.is_rollback {
                    self.trouble = None;
                }
            }
            Event::RolledBack(report) => {
                self.old = Some(format!("generation {} is being ended", report.from));
                // If it was asked for, what it was asked for stands there already.
                if !matches!(report.reason, RollbackReason::Manual) {
                    self.trouble = Some(format!("generation {} was left: {}", report.from, report.reason));
                }
                let Some(swap) = &mut self.swap else { return };
                swap.pause = report.total;
                if let RestoredState::Carried { bytes } | RestoredState::Snapshot { bytes, .. } = &report.state {
                    swap.state_bytes = *bytes;
                }
            }
            Event::Retired(report) => match &report.outcome {
                Outcome::Quarantined(why) => self.old = Some(format!("generation {} KEPT: {why}", report.generation)),
                _ if report.served => self.old = Some(format!("generation {} proven gone", report.generation)),
                _ => {}
            },
            Event::Released { generation, .. } => self.old = Some(format!("generation {generation} proven gone")),
            Event::Refused(_)
            | Event::CallFailed { .. }
            | Event::NoFallback { .. }
            | Event::StillRefused { .. }
            | Event::HistoryFailed { .. } => self.trouble = Some(event.to_string()),
            _ => {}
        }
    }

    /// What is to be said when the rules of this generation have not come back for so long.
    pub fn hanging(generation: u64, since: Duration) -> String {
        format!(
            "The rules of generation {generation} have not come back for {} s.\n\
             An endless loop cannot be ended inside a process, nor its code be replaced.\n\
             Correct it, save, leave with q, and start again.",
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
            let (micros, contents, bytes) = (swap.pause.as_micros(), swap.contents, swap.state_bytes);
            second += &format!("; paused {micros} µs; kept {contents} things + {bytes} bytes of state");
        }
        let third = format!("old code: {}", self.old.as_deref().unwrap_or("none yet"));
        [first, second, third].into_iter().chain(self.trouble.clone()).collect()
    }
}
