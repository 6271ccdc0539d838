//! Runs a body under schedules.

use super::{
    schedule::{self, Progress, Seeded},
    thread, time,
    wait::{Exploring, failure, here, is_exploring, point},
};
use shuttle_engine::{Config, FailurePersistence, MaxSteps, Runner};
use std::{
    any::Any,
    cell::RefCell,
    fmt,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    rc::Rc,
    sync::{Arc, Once},
};

/// Executions that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exploration {
    /// How many there were.
    pub schedules: usize,
    /// At how many points the scheduler chose a thread, in all of them.
    pub steps: usize,
}

/// An execution that failed: a thread panicked, all threads waited for each other, or it did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// How many executions before it ended well.
    pub before: usize,
    /// After how many points.
    pub steps: usize,
    /// What the panic said.
    pub message: String,
}

/// The size of each thread's stack. Hooks decode states and format messages on it.
const STACK: usize = 512 * 1024;

/// Runs `body`, and the threads that it starts, once under the schedule of each of these seeds, which it is given. The executions use the
/// same stacks one after the other, so many seeds at once take much less time than one at a time.
///
/// # Errors
/// If an execution fails. It is the last one, and what its threads have on their stacks is leaked.
pub fn explore(
    seeds: impl Iterator<Item = u64> + 'static,
    most_steps: usize,
    body: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Exploration, Failure> {
    run(Box::new(seeds), most_steps, None, body)
}

/// Runs `body` under the schedule of one seed, but calls `end` before the point `step`, if the execution comes so far.
///
/// # Errors
/// If the execution fails.
pub fn explore_until(
    seed: u64,
    step: usize,
    end: fn(),
    body: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Exploration, Failure> {
    run(Box::new(std::iter::once(seed)), step + 1, Some((step, end)), body)
}

fn run(
    seeds: Box<dyn Iterator<Item = u64>>,
    most_steps: usize,
    end: Option<(usize, fn())>,
    body: impl Fn(u64) + Send + Sync + 'static,
) -> Result<Exploration, Failure> {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(most_steps);
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    note_panics();
    let progress = Rc::<Progress>::default();
    let runner = Runner::new(Seeded::new(seeds, progress.clone(), end), config);
    let body = Arc::new(body);
    PANIC.take();
    let _exploring = Exploring::begin();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        runner.run(move || {
            time::begin();
            let clock = thread::spawn(|| {
                assert_eq!(usize::from(here()), schedule::CLOCK, "the clock's thread is the first one");
                time::advance();
            });
            point();
            body(schedule::current_seed());
            time::end();
            let _ = clock.join();
        })
    }));
    let message = match (failure(), outcome) {
        (Some(message), _) => message,
        (None, Ok(schedules)) => {
            let steps = progress.all_steps.get() + progress.steps.get();
            return Ok(Exploration { schedules, steps });
        }
        // A panic whose unwinding would wait for another thread ends the execution at once, without its message.
        (None, Err(panic)) => match message_of(&*panic) {
            message if message.contains("early return") => PANIC.take().unwrap_or(message),
            message => message,
        },
    };
    Err(Failure {
        seed: schedule::current_seed(),
        before: progress.begun.get().saturating_sub(1),
        steps: progress.steps.get(),
        message,
    })
}

thread_local! {
    /// What the last panic of this execution said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics are part of most executions, so none is printed; the last one is kept.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ordinary = std::panic::take_hook();
        // The first execution installs a hook that prints each panic.
        let nothing = Seeded::new(Box::new(std::iter::once(0)), Rc::default(), None);
        Runner::new(nothing, Config::new()).run(|| ());
        drop(std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| match is_exploring() {
            true => PANIC.set(Some(format!("{} ({})", message_of(panic.payload()), Where(panic.location())))),
            false => ordinary(panic),
        }));
    });
}

struct Where<'a>(Option<&'a Location<'a>>);

impl fmt::Display for Where<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => place.fmt(f),
            None => f.write_str("at an unknown place"),
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(message), _) => message.clone(),
        (None, Some(message)) => (*message).to_owned(),
        (None, None) => "a panic without a message".to_owned(),
    }
}
