//! Which thread runs next: a seed decides.

use super::wait::has_failed;
use shuttle_engine::{
    runtime::task::{Task, TaskId},
    scheduler::{Schedule, Scheduler},
};
use std::{cell::Cell, collections::BTreeMap, rc::Rc};

/// The thread that advances the clock is the first one that an execution starts.
pub(super) const CLOCK: usize = 1;

/// A small generator of numbers (SplitMix64), so that a seed gives the same schedule with every version of every library.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Begins with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }
}

/// How a schedule chooses.
#[derive(Debug)]
enum Manner {
    /// Any thread that can run, at each point.
    Uniform,
    /// The thread that runs goes on, except at one of so many points.
    Sticky(usize),
    /// The thread with the highest priority. At a few points, which the seed chooses, the running one gets the lowest (Burckhardt and
    /// others, "A randomized scheduler with probabilistic guarantees of finding bugs", 2010).
    Priorities {
        of: BTreeMap<usize, u64>,
        changes: Vec<usize>,
        lowest: u64,
    },
}

/// How far an exploration has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How many executions have begun.
    pub(super) begun: Cell<usize>,
    /// The points of the present execution.
    pub(super) steps: Cell<usize>,
    /// Those of the executions before.
    pub(super) all_steps: Cell<usize>,
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// The seed of the present execution.
pub(super) fn current_seed() -> u64 {
    SEED.get()
}

/// One schedule for each seed.
pub(super) struct Seeded {
    seeds: Box<dyn Iterator<Item = u64>>,
    random: Random,
    manner: Manner,
    progress: Rc<Progress>,
    /// What to call at which point.
    end: Option<(usize, fn())>,
}

impl Seeded {
    pub(super) fn new(seeds: Box<dyn Iterator<Item = u64>>, progress: Rc<Progress>, end: Option<(usize, fn())>) -> Self {
        Self {
            seeds,
            random: Random::new(0),
            manner: Manner::Uniform,
            progress,
            end,
        }
    }
}

impl Manner {
    fn of(random: &mut Random) -> Self {
        match random.below(4) {
            0 => Self::Uniform,
            1 => Self::Sticky(8),
            2 => Self::Sticky(40),
            _ => {
                let length = [200, 1_000, 4_000][random.below(3)];
                let changes = (0..1 + random.below(4)).map(|_| random.below(length)).collect();
                Self::Priorities {
                    of: BTreeMap::new(),
                    changes,
                    lowest: u64::MAX / 2,
                }
            }
        }
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        if has_failed() {
            return None;
        }
        let seed = self.seeds.next()?;
        SEED.set(seed);
        self.random = Random::new(seed);
        self.manner = Manner::of(&mut self.random);
        let Progress { begun, steps, all_steps } = &*self.progress;
        begun.set(begun.get() + 1);
        all_steps.set(all_steps.get() + steps.take());
        Some(Schedule::default())
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, is_yielding: bool) -> Option<TaskId> {
        if has_failed() {
            return None;
        }
        let step = self.progress.steps.get();
        self.progress.steps.set(step + 1);
        if let Some((_, end)) = self.end.filter(|(at, _)| *at == step) {
            end();
        }
        let id = |task: &&Task| usize::from(task.id());
        let others: Vec<usize> = runnable.iter().map(id).filter(|task| *task != CLOCK).collect();
        let Some(last) = others.len().checked_sub(1) else {
            return Some(TaskId::from(CLOCK));
        };
        if last == 0 {
            return Some(TaskId::from(others[0]));
        }
        let running = current
            .map(usize::from)
            .filter(|current| others.contains(current) && !is_yielding);
        let random = &mut self.random;
        let next = match &mut self.manner {
            Manner::Uniform => others[random.below(others.len())],
            Manner::Sticky(points) => match running {
                Some(running) if random.below(*points) != 0 => running,
                _ => others[random.below(others.len())],
            },
            Manner::Priorities { of, changes, lowest } => {
                for task in &others {
                    of.entry(*task).or_insert_with(|| random.next() | (1 << 63));
                }
                if let Some(running) = current.map(usize::from).filter(|_| is_yielding || changes.contains(&step)) {
                    *lowest -= 1;
                    of.insert(running, *lowest);
                }
                others.iter().copied().max_by_key(|task| of.get(task).copied())?
            }
        };
        Some(TaskId::from(next))
    }

    fn next_u64(&mut self) -> u64 {
        self.random.next()
    }
}
