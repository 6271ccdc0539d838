//! The clock of deadlines: a thread that raises the epoch of each runtime once a millisecond, and sleeps while nothing runs.
//!
//! # Why it is awake in time
//! A call first counts itself, and then looks whether the thread sleeps. The thread first says that it will sleep, and then looks at the count. All are
//! sequentially consistent, so one of the two sees the other. Who sees a sleeping thread wakes it under the lock, which the thread holds from before
//! it says so until it waits.

use reslot_sync::{
    Condvar, Instant, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};
use std::{sync::Once, time::Duration};
use wasmtime::{Engine, EngineWeak};

/// The length of an epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// The most epochs that pass at once: if the process was stopped, its calls have not run in that time.
const MOST_AT_ONCE: u32 = 16;
/// How many epochs without a call pass before the thread sleeps.
const IDLE: u32 = 64;

static RUNNING: AtomicU64 = AtomicU64::new(0);
static ASLEEP: AtomicBool = AtomicBool::new(false);
static WAKE: Condvar = Condvar::new();
static ENGINES: Mutex<Vec<EngineWeak>> = Mutex::new(Vec::new());

/// Code runs as long as this lives.
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        RUNNING.fetch_add(1, SeqCst);
        if ASLEEP.load(SeqCst) {
            wake();
        }
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, SeqCst);
    }
}

#[cold]
fn wake() {
    let _engines = ENGINES.lock();
    WAKE.notify_one();
}

/// How many epochs a deadline is from now. The first may be almost over.
pub(crate) fn ticks(limit: Duration) -> u64 {
    let ticks = limit.as_micros().div_ceil(TICK.as_micros());
    u64::try_from(ticks).unwrap_or(u64::MAX / 2).saturating_add(1)
}

/// Raises the epoch of this engine from now on.
///
/// # Errors
/// If there is no thread for it.
pub(crate) fn add(engine: &Engine) -> std::io::Result<()> {
    static STARTED: Once = Once::new();
    ENGINES.lock().push(engine.weak());
    let mut started = Ok(());
    STARTED.call_once(|| {
        let builder = thread::Builder::new().name("reslot-wasm".to_owned());
        started = builder.spawn(tick).map(drop);
    });
    started
}

fn tick() {
    let (mut idle, mut last) = (0, Instant::now());
    loop {
        thread::sleep(TICK);
        // On a busy machine this thread wakes up late, and each time; the epochs are to keep up with the clock.
        let passed = last.elapsed().as_micros() / TICK.as_micros();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX).clamp(1, MOST_AT_ONCE);
        last = match passed {
            MOST_AT_ONCE => Instant::now(),
            _ => last + TICK * passed,
        };
        let mut engines = ENGINES.lock();
        engines.retain(|engine| match engine.upgrade() {
            Some(engine) => {
                (0..passed).for_each(|_| engine.increment_epoch());
                true
            }
            None => false,
        });
        idle = if RUNNING.load(SeqCst) == 0 { idle + 1 } else { 0 };
        if idle < IDLE {
            continue;
        }
        ASLEEP.store(true, SeqCst);
        while RUNNING.load(SeqCst) == 0 {
            WAKE.wait(&mut engines);
        }
        ASLEEP.store(false, SeqCst);
        (idle, last) = (0, Instant::now());
    }
}
