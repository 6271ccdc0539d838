//! Runs a body under one schedule.

use super::{
    schedule::{self, Seeded},
    thread, time,
    wait::{Exploring, failure, here, is_exploring, point},
};
use shuttle_engine::{Config, FailurePersistence, MaxSteps, Runner};
use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    rc::Rc,
    sync::{Arc, Once},
};

/// An execution that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exploration {
    /// At how many points the scheduler chose a thread.
    pub steps: usize,
}

/// An execution that failed: a thread panicked, all threads waited for each other, or it did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// After how many points.
    pub steps: usize,
    /// What the panic said.
    pub message: String,
}

/// The size of each thread's stack. Hooks decode states and format messages on it.
const STACK: usize = 512 * 1024;

/// Runs `body`, and the threads that it starts, under the schedule of this seed.
///
/// # Errors
/// If the execution fails. What its threads have on their stacks is leaked then.
pub fn explore_one(seed: u64, most_steps: usize, body: impl Fn() + Send + Sync + 'static) -> Result<Exploration, Failure> {
    explore(seed, most_steps, None, body)
}

/// The same, but calls `end` before the point `step`, if the execution comes so far.
///
/// # Errors
/// If the execution fails.
pub fn explore_until(
    seed: u64,
    step: usize,
    end: fn(),
    body: impl Fn() + Send + Sync + 'static,
) -> Result<Exploration, Failure> {
    explore(seed, step + 1, Some((step, end)), body)
}

fn explore(
    seed: u64,
    most_steps: usize,
    end: Option<(usize, fn())>,
    body: impl Fn() + Send + Sync + 'static,
) -> Result<Exploration, Failure> {
    let steps = Rc::new(Cell::new(0));
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(most_steps);
    config.silence_warnings = true;
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    note_panics();
    let runner = Runner::new(Seeded::new(seed, steps.clone(), end), config);
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
            body();
            time::end();
            let _ = clock.join();
        })
    }));
    if let Some(message) = failure() {
        let steps = steps.get();
        return Err(Failure { seed, steps, message });
    }
    match outcome {
        Ok(_) => Ok(Exploration { steps: steps.get() }),
        Err(panic) => Err(Failure {
            seed,
            steps: steps.get(),
            // A panic whose unwinding would wait for another thread ends the execution at once, without its message.
            message: match message_of(&*panic) {
                message if message.contains("early return") => PANIC.take().unwrap_or(message),
                message => message,
            },
        }),
    }
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
        let nothing = Seeded::new(0, Rc::default(), None);
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
