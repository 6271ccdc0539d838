//! The game and the screen have a thread each, so that the screen can tell when the rules do not come back, and end all the same.

use crate::terminal::{Came, Terminal};
use anyhow::bail;
use arcade_interfaces::Input;
use ratatui::crossterm::event::KeyCode;
use reslot_arcade::{
    game::{Game, RATE},
    picture::Picture,
    recording::Trail,
    strip::Strip,
    world::Table,
};
use std::{
    io::{self, Write},
    process::{self, ExitCode},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};
use xtask::Building;

/// Rules that take longer than this are said to hang.
const PATIENCE: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// What the game's thread leaves for the screen, and the player for the game.
struct Between {
    scene: Mutex<Arc<Scene>>,
    /// Here and not with the game: it tells of a correction also while the rules hang, and ends with the screen.
    building: Mutex<Option<Building>>,
    calling: Arc<AtomicU64>,
    steer: AtomicI32,
    fire: AtomicBool,
    replay: AtomicBool,
    quit: AtomicBool,
}

struct Scene {
    world: Table,
    strip: Strip,
    trails: Option<[Trail; 2]>,
    at: Instant,
}

impl Scene {
    fn of(game: &Game) -> Arc<Self> {
        Arc::new(Self {
            world: game.world().clone(),
            strip: game.strip().clone(),
            trails: game.trails().cloned(),
            at: Instant::now(),
        })
    }
}

/// Plays in the terminal, until the player or a signal says to end.
///
/// # Errors
/// If there is no terminal, or it is gone.
pub fn play(game: Game, building: Option<Building>) -> anyhow::Result<ExitCode> {
    let keys = match game.slot() {
        "arcade" => "a/d or arrows: steer   s: stop   space: new ball   r: replay   q: quit",
        _ => "q: quit",
    };
    let invitation = format!("change plugins/{}/src/lib.rs, save it, and see\n{keys}", game.slot());
    let between = Arc::new(Between {
        scene: Mutex::new(Scene::of(&game)),
        building: Mutex::new(building),
        calling: game.calling(),
        steer: AtomicI32::new(0),
        fire: AtomicBool::new(false),
        replay: AtomicBool::new(false),
        quit: AtomicBool::new(false),
    });
    let mut terminal = {
        let between = between.clone();
        Terminal::take(move || drop(lock(&between.building).take()))?
    };
    let (ending, ended) = mpsc::channel();
    {
        let between = between.clone();
        thread::Builder::new()
            .name("game".to_owned())
            .spawn(move || ticks(game, &between, ending))?;
    }
    let shown = show(&mut terminal, &between, &ended, [&invitation, keys]);
    drop(terminal);
    between.quit.store(true, Ordering::Relaxed);
    drop(lock(&between.building).take());
    if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        // To a terminal that may be gone.
        let words = "The rules have not come back, and ended with this process: nothing else can end them.";
        let _ = writeln!(io::stderr(), "{words}");
        process::exit(shown.map_or(1, |code| i32::from(code.max(1))));
    }
    shown.map(ExitCode::from)
}

/// The game's thread: a tick each sixtieth of a second, by the clock and not by what the last one took. It has ended when `_ending`
/// is dropped.
fn ticks(mut game: Game, between: &Between, _ending: Sender<()>) {
    let mut next = Instant::now();
    while !between.quit.load(Ordering::Relaxed) {
        let input = Input {
            steer: between.steer.load(Ordering::Relaxed),
            fire: between.fire.swap(false, Ordering::Relaxed),
        };
        if between.replay.swap(false, Ordering::Relaxed) {
            game.toggle_replay();
        }
        game.tick(input);
        *lock(&between.scene) = Scene::of(&game);
        next += FRAME;
        while next + FRAME < Instant::now() {
            next += FRAME;
            game.strip_mut().missed += 1;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The screen's thread: it never waits for the game. Answers the program's exit code.
fn show(terminal: &mut Terminal, between: &Between, ended: &Receiver<()>, [first, later]: [&str; 2]) -> anyhow::Result<u8> {
    loop {
        if ended.try_recv() == Err(TryRecvError::Disconnected) {
            bail!("the game's thread has ended by itself");
        }
        let not_built = lock(&between.building).as_mut().and_then(|building| {
            building.look();
            building.error()
        });
        let scene = lock(&between.scene).clone();
        let since = scene.at.elapsed();
        let mut strip = scene.strip.clone();
        strip.not_built = not_built;
        let alarm = (since > PATIENCE).then(|| Strip::hanging(between.calling.load(Ordering::Relaxed), since));
        terminal.draw(|frame| {
            let picture = Picture {
                world: &scene.world,
                strip: &strip,
                trails: scene.trails.as_ref(),
                alarm: alarm.as_deref(),
                keys: Some(if strip.old.is_none() { first } else { later }),
            };
            frame.render_widget(picture, frame.area());
        })?;
        let key = match terminal.wait(FRAME)? {
            Came::Nothing => continue,
            Came::End(code) => return Ok(code),
            Came::Key(key) => key,
        };
        match key {
            // Terminals tell no key's release: a direction holds until another key.
            KeyCode::Left | KeyCode::Char('a') => between.steer.store(-1, Ordering::Relaxed),
            KeyCode::Right | KeyCode::Char('d') => between.steer.store(1, Ordering::Relaxed),
            KeyCode::Down | KeyCode::Char('s') => between.steer.store(0, Ordering::Relaxed),
            KeyCode::Char(' ') => between.fire.store(true, Ordering::Relaxed),
            KeyCode::Char('r') => between.replay.store(true, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// What another thread did before it panicked is as good as what it would have done.
fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
