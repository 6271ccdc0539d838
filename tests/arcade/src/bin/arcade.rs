//! `cargo xtask demo arcade`: the game in a terminal, or without one, as numbers and pictures. In a terminal the game and the
//! screen have a thread each, so that the screen can tell when the rules do not come back.

#![forbid(unsafe_code)]

use anyhow::{Context, ensure};
use arcade_interfaces::Input;
use clap::Parser;
use ratatui::{
    buffer::Buffer,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::Rect,
    widgets::Widget,
};
use reslot_arcade::{
    game::{Game, RATE},
    picture::Picture,
    png_file,
    recording::Trail,
    rle,
    strip::Strip,
    world::Table,
};
use std::{
    fs,
    path::PathBuf,
    process::{self, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use xtask::Building;

/// Rules that take longer than this are said to hang.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Arguments {
    /// The folder into which rules are published
    #[arg(long, default_value = "target/reslot/arcade")]
    folder: PathBuf,
    /// Play Conway's Life from this pattern file, in run-length encoding
    #[arg(long, value_name = "FILE.rle")]
    life: Option<PathBuf>,
    /// Without a terminal: play, tell in numbers, and end
    #[arg(long)]
    headless: bool,
    /// How many ticks, if headless
    #[arg(long, default_value_t = 600)]
    ticks: u64,
    /// Where to write pictures to, ten in a second, if headless
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// What builds the rules whenever they are saved: a program and its arguments
    #[arg(last = true)]
    builder: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let (slot, world) = match &arguments.life {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let cells = rle::read(&text).with_context(|| format!("{} is no pattern of Life", file.display()))?;
            ("life", Table::of_cells(cells))
        }
        None => ("arcade", Table::default()),
    };
    let building = match arguments.builder.split_first() {
        Some((program, rest)) => {
            let mut command = Command::new(program);
            command.args(rest);
            Some(Building::start(command).with_context(|| format!("cannot start {program}"))?)
        }
        None => None,
    };
    let game = Game::open(&arguments.folder, slot, world)?;
    match arguments.headless {
        true => headless(game, &arguments),
        false => on_screen(game, building),
    }
}

fn headless(mut game: Game, arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(folder) = &arguments.frames {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    for tick in 0..arguments.ticks {
        let steer = if tick / 40 % 2 == 0 { 1 } else { -1 };
        let ticked = game.tick(Input { steer, fire: false });
        ensure!(ticked.done, "{}", game.strip().lines().join("\n"));
        if let Some(folder) = arguments.frames.as_ref().filter(|_| tick % 6 == 0) {
            let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
            let picture = Picture {
                world: game.world(),
                strip: game.strip(),
                trails: None,
                alarm: None,
            };
            picture.render(buffer.area, &mut buffer);
            png_file::write(&buffer, &folder.join(format!("{tick:06}.png")))?;
        }
    }
    println!("{}", game.strip().lines().join("\n"));
    println!("world {:016x} after {} ticks", game.world().hash(), arguments.ticks);
    Ok(())
}

/// What the game's thread leaves for the screen, and the player for the game.
#[derive(Default)]
struct Between {
    scene: Mutex<Option<Arc<Scene>>>,
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

fn on_screen(game: Game, building: Option<Building>) -> anyhow::Result<()> {
    let between = Arc::new(Between::default());
    let playing = {
        let between = between.clone();
        thread::Builder::new()
            .name("game".to_owned())
            .spawn(move || play(game, building, &between))?
    };
    let mut terminal = ratatui::init();
    let shown = show(&mut terminal, &between);
    ratatui::restore();
    between.quit.store(true, Ordering::Relaxed);
    let asked = Instant::now();
    while !playing.is_finished() && asked.elapsed() < PATIENCE {
        thread::yield_now();
    }
    if !playing.is_finished() {
        eprintln!("The rules have not come back; nothing can end them but the end of this process.");
        process::exit(1);
    }
    shown
}

/// The game's thread: a tick each sixtieth of a second, by the clock and not by what the last one took.
fn play(mut game: Game, mut building: Option<Building>, between: &Between) {
    let period = Duration::from_secs(1) / RATE;
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
        if let Some(building) = &mut building
            && building.look()
        {
            game.strip_mut().not_built = building.error();
        }
        let scene = Scene {
            world: game.world().clone(),
            strip: game.strip().clone(),
            trails: game.trails().cloned(),
            at: Instant::now(),
        };
        *between.scene.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(scene));
        next += period;
        while next + period < Instant::now() {
            next += period;
            game.strip_mut().missed += 1;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The screen's thread: it never waits for the game.
fn show(terminal: &mut ratatui::DefaultTerminal, between: &Between) -> anyhow::Result<()> {
    loop {
        let scene = between.scene.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(scene) = scene {
            let alarm = (scene.at.elapsed() > PATIENCE).then(|| scene.strip.hanging(scene.at.elapsed()));
            terminal.draw(|frame| {
                let picture = Picture {
                    world: &scene.world,
                    strip: &scene.strip,
                    trails: scene.trails.as_ref(),
                    alarm: alarm.as_deref(),
                };
                frame.render_widget(picture, frame.area());
            })?;
        }
        if !event::poll(Duration::from_secs(1) / RATE)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Ok(()),
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
