//! Which program a seed means.

use crate::world::{Fault, Place, Script};
use reslot_sync::Random;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The slots of a program, as they are called in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Name {
    Tally,
    Book,
    Left,
    Middle,
    Right,
    Calls,
}

impl Name {
    pub const ALL: [Self; 6] = [Self::Tally, Self::Book, Self::Left, Self::Middle, Self::Right, Self::Calls];

    pub fn slot(self) -> &'static str {
        match self {
            Self::Tally => "tally",
            Self::Book => "book",
            Self::Left => "left",
            Self::Middle => "middle",
            Self::Right => "right",
            Self::Calls => "calls",
        }
    }
}

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// `Host::load` of a new build.
    Load(Name, Script),
    /// The same file again.
    LoadAgain(Name),
    /// A new build, as the watch notices it.
    Notice(Name, Script),
    /// A set of the three slots without state; one of the builds may be faulty.
    LoadTogether(u64, Option<(Place, Fault)>),
    RollBack(Name),
    Confirm(Name),
    Unload(Name),
    ForceUnload(Name),
    /// The newest build again, with the state that the unload has left.
    LoadSaved(Name),
    /// Keep what a handle answers.
    HoldGuard(Name),
    /// Keep a reader's view.
    HoldView,
    /// Let go of all that is kept.
    Release,
    /// The owner gives its claim back, or takes it.
    Claim,
    /// A shadow of the claimed slot, called once.
    Shadow(Script),
    /// Another configuration for this slot, which makes another instance of it.
    Configure(Name, u64),
    /// The watch misses the slot's file.
    Delete(Name),
    /// Time passes.
    Wait(u64),
    /// The host is shut down, and a new one starts on the same history.
    Restart,
}

/// What a seed means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub seed: u64,
    /// Whether there is a probation, and so a way back without the history.
    pub probation: bool,
    /// Whether a rollback gives the snapshot of the swap.
    pub snapshot: bool,
    pub callers: usize,
    /// Before it begins, a process ran it up to this step of the scheduler, and was killed.
    pub killed_at: Option<usize>,
    pub steps: Vec<Step>,
}

impl Program {
    pub fn of(seed: u64) -> Self {
        // The schedule takes its own numbers from the same seed.
        let mut random = Random::new(seed ^ 0x5EED_0F_A_9806_2A11);
        let mut version = 1;
        let count = 3 + random.below(12);
        Self {
            seed,
            probation: random.below(3) > 0,
            snapshot: random.below(4) == 0,
            callers: random.below(3),
            killed_at: killed_at(&mut random),
            steps: (0..count).map(|_| step(&mut random, &mut version)).collect(),
        }
    }

    /// Without so many steps from here on.
    pub fn without(&self, at: usize, length: usize) -> Self {
        let mut shorter = self.clone();
        shorter.steps.drain(at..(at + length).min(self.steps.len()));
        shorter.killed_at = None;
        shorter
    }
}

/// One program in eight begins in a process that is killed, early or late.
fn killed_at(random: &mut Random) -> Option<usize> {
    let latest = [3_000, 20_000][random.below(2)];
    (random.below(8) == 0).then(|| 50 + random.below(latest))
}

fn step(random: &mut Random, version: &mut u64) -> Step {
    let name = Name::ALL[random.below(Name::ALL.len())];
    let mut script = |random: &mut Random| {
        *version += 1;
        script(random, *version)
    };
    match random.below(31) {
        0..=6 => Step::Load(name, script(random)),
        7..=9 => Step::Notice(name, script(random)),
        10..=11 => {
            let version = script(random).version;
            Step::LoadTogether(version, fault(random))
        }
        12..=14 => Step::RollBack(name),
        15 => Step::Confirm(name),
        16 => Step::Unload(name),
        17 => Step::ForceUnload(name),
        18 => Step::LoadSaved(name),
        19 => Step::HoldGuard(name),
        20 => Step::HoldView,
        21 => Step::Release,
        22 => Step::Claim,
        23 => Step::Shadow(script(random)),
        24 => Step::LoadAgain(name),
        28..=29 => Step::Configure(name, random.next() % 4),
        30 => Step::Delete(name),
        25..=26 => Step::Wait([1, 100, 1_000, 10_000][random.below(4)]),
        _ => Step::Restart,
    }
}

fn script(random: &mut Random, version: u64) -> Script {
    Script {
        version,
        fault: fault(random),
        stays: [0, 0, 0, 0, 0, 1, 2][random.below(7)],
        lies: random.below(30) == 0,
    }
}

fn fault(random: &mut Random) -> Option<(Place, Fault)> {
    use Fault::{Hangs, Panics, Refuses};
    use Place::{Call, Create, Health, Init, Restore, Snapshot, Start, Stop};
    let faulty = random.below(3) == 0;
    let place = [Create, Snapshot, Restore, Init, Start, Stop, Health, Call][random.below(8)];
    let fault = [Refuses, Refuses, Panics, Panics, Hangs][random.below(5)];
    // A call that hangs is for a policy with a deadline for calls, and a constructor cannot refuse.
    let possible = !matches!((place, fault), (Call, Hangs) | (Create, Refuses));
    (faulty && possible).then_some((place, fault))
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            probation,
            snapshot,
            callers,
            killed_at,
            steps,
        } = self;
        writeln!(
            f,
            "seed {seed}: probation {probation}, rollback to the snapshot {snapshot}, {callers} callers"
        )?;
        if let Some(step) = killed_at {
            writeln!(f, "  (before: the same program, killed at point {step})")?;
        }
        for step in steps {
            writeln!(f, "  {step:?}")?;
        }
        Ok(())
    }
}
