//! No frame is lost to a reload. It is alone in its test program, so that all threads belong to the game or the host.
//!
//! On a busy machine the duration of a frame says little, because a ready thread may wait long for a processor, and so does
//! each thread that waits for it. The kernel reports how long the game's thread and each of the host's threads were ready
//! but not running. The test subtracts that time; the rest of the frame is what the reload computed or slept.

use arcade_interfaces::Input;
use reslot::Policy;
use reslot_arcade::{
    game::{Game, RATE},
    world::Table,
};
use reslot_tests::{Fixture, Folder};
use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

/// The time for one frame.
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// For each thread that a frame may wait for: how long it has been ready without a processor.
#[derive(Default)]
struct Ready(HashMap<String, u64>);

impl Ready {
    fn now() -> Self {
        let mut ready = HashMap::new();
        let own = fs::read_link("/proc/thread-self").unwrap();
        for entry in fs::read_dir("/proc/self/task").unwrap() {
            let thread = entry.unwrap().path();
            // If a thread ends meanwhile, no frame waits for it.
            let (Ok(name), Ok(times)) = (
                fs::read_to_string(thread.join("comm")),
                fs::read_to_string(thread.join("schedstat")),
            ) else {
                continue;
            };
            // No frame waits for the reaper.
            let is_waited_for = name.starts_with("reslot-") && name.trim() != "reslot-reaper";
            if is_waited_for || thread.file_name() == own.file_name() {
                let waited = times.split_whitespace().nth(1).expect("the kernel counts it");
                ready.insert(thread.display().to_string(), waited.parse().unwrap());
            }
        }
        Self(ready)
    }

    /// The sum over all threads since then.
    fn since(&self, before: &Self) -> Duration {
        let waited = self
            .0
            .iter()
            .map(|(thread, waited)| waited.saturating_sub(*before.0.get(thread).unwrap_or(waited)));
        Duration::from_nanos(waited.sum())
    }
}

/// A frame: its duration, and its duration without the waits for a processor.
struct Frame {
    took: Duration,
    own: Duration,
}

fn frame(game: &mut Game, tick: u64) -> Frame {
    let before = Ready::now();
    let begun = Instant::now();
    let ticked = game.tick(Input {
        steer: [1, 0, -1][tick as usize / 9 % 3],
        fire: false,
    });
    let took = begun.elapsed();
    let own = took.saturating_sub(Ready::now().since(&before));
    assert!(ticked.done, "{ticked:?}: {:#?}", game.strip);
    Frame { took, own }
}

/// Plays frames; if `reloaded`, each frame gets other rules.
fn play(rules: &str, frames: u64, reloaded: bool) -> Vec<Frame> {
    let folder = Folder::new();
    let mut bytes = Fixture::build(rules).bytes().to_vec();
    let end = bytes.len();
    bytes.extend([0; 8]);
    folder.publish("libarcade.so", &bytes);
    let mut game = Game::open(folder.path(), "arcade", Table::default(), Policy::without_probation()).unwrap();
    // The build is outside the watched folder; otherwise the host would load it twice.
    let aside = Folder::new();
    let mut one = |tick: u64| {
        if reloaded {
            bytes[end..].copy_from_slice(&(tick + 1).to_le_bytes());
            game.host.load(aside.publish("libarcade.so", &bytes)).unwrap();
        }
        frame(&mut game, tick)
    };
    let played = (0..frames).map(&mut one).collect();
    assert_eq!(game.strip.generation, if reloaded { frames + 1 } else { 1 });
    played
}

/// Prints the durations as shares of a frame's time, and returns how many frames were late.
fn tell(what: &str, frames: &[Frame]) -> (usize, Duration) {
    let sorted = |of: fn(&Frame) -> Duration| {
        let mut times: Vec<_> = frames.iter().map(of).collect();
        times.sort_unstable();
        times
    };
    let share = |time: &Duration| format!("{:.1} %", 100.0 * time.as_secs_f64() / FRAME.as_secs_f64());
    let words = |times: &[Duration]| {
        let at = |share: usize| &times[times.len() * share / 100];
        let worst = times.last().map(share);
        format!(
            "median {}, p99 {}, worst {}",
            share(at(50)),
            share(at(99)),
            worst.unwrap_or_default()
        )
    };
    let (took, own) = (sorted(|frame| frame.took), sorted(|frame| frame.own));
    println!(
        "{what}: of a frame's time, own {}; by the clock {}",
        words(&own),
        words(&took)
    );
    (own.iter().filter(|own| **own > FRAME).count(), own[own.len() / 2])
}

#[test]
fn no_frame_is_lost_to_a_reload() {
    let (calm, _) = tell("no reloads", &play("arcade", 600, false));
    let (lost, median) = tell("a reload in each frame", &play("arcade", 600, true));
    // The machine may be a virtual one, whose kernel does not see the host's delays; the test allows one late frame in a
    // hundred for that.
    assert!(lost <= calm + 6, "{lost} of 600 frames were lost to reloads");
    assert!(median < FRAME / 4, "half of the reloads take {median:?} and more");

    // The method detects slow reloads, whether they compute or sleep; ten of these frames do one or the other.
    let (lost, _) = tell("rules that start slowly", &play("fx-rules-slow", 20, true));
    assert!(lost > 10, "only {lost} of 20 were found");
}
