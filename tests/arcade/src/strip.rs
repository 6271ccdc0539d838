//! The status lines under the game: the current rules, the tick since which they serve, the pause of the swap, what happened
//! to the old code, and the last error. All of it comes from the host's events, and most of it in the host's words.

use reslot::{Event, Outcome, RestoredState, RollbackReason};
use std::time::Duration;

/// The strip.
#[derive(Debug, Clone, Default)]
pub struct Strip {
    /// The current generation.
    pub generation: u64,
    /// Its own title.
    pub title: String,
    /// The swap that made it current, unless it is the first.
    pub swap: Option<Swap>,
    /// Frames that came too late to be shown.
    pub missed: u64,
    /// What happened to the previous code.
    pub old: Option<String>,
    /// The last error, until new rules work.
    pub trouble: Option<String>,
    /// The compiler's error for the last saved source, if it did not build.
    pub not_built: Option<String>,
}

/// A swap of rules.
#[derive(Debug, Clone, Copy)]
pub struct Swap {
    /// The tick before which they were adopted.
    pub tick: u64,
    /// How long the game stood still for it.
    pub pause: Duration,
    /// The size of the state that was handed over.
    pub state_bytes: usize,
    /// The number of things, numbers and cells in the world at the swap.
    pub contents: usize,
    /// Whether it was a rollback because other rules failed.
    pub is_rollback: bool,
}

impl Strip {
    /// Reads an event of the host.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::Swapped(report) => {
                self.old = report.replaced.map(|old| format!("generation {old} is the standby"));
                let Some(swap) = &mut self.swap else { return };
                (swap.pause, swap.state_bytes) = (report.pause, report.state_bytes.unwrap_or(0));
                // A rollback must not clear the error that caused it.
                if !swap.is_rollback {
                    self.trouble = None;
                }
            }
            Event::RolledBack(report) => {
                self.old = Some(format!("generation {} is being ended", report.from));
                // A manual rollback already has its reason on the strip.
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

    /// The message for a call into this generation that has hung for this long.
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
            let verb = if swap.is_rollback { "rolled back" } else { "swapped" };
            first += &format!(", {verb} at tick {}", swap.tick);
            let (micros, contents, bytes) = (swap.pause.as_micros(), swap.contents, swap.state_bytes);
            second += &format!("; paused {micros} µs; kept {contents} things + {bytes} bytes of state");
        }
        let third = format!("old code: {}", self.old.as_deref().unwrap_or("none yet"));
        [first, second, third].into_iter().chain(self.trouble.clone()).collect()
    }
}
