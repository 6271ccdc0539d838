//! The game and the screen have one thread each, so that the screen can report a hanging call into the rules, and the
//! program can still end. The game sends scenes, the screen sends keys, and neither waits for the other.

use anyhow::bail;
use arcade_interfaces::Input;
use reslot::Host;
use reslot_arcade::{
    game::{Game, RATE},
    picture::Scene,
    strip::Strip,
};
use reslot_terminal::{End, Key, Terminal};
use std::{
    io::{self, Write},
    mem, process,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};
use xtask::Building;

/// Rules that take longer than this are said to hang.
const PATIENCE: Duration = Duration::from_secs(1);
/// A held key repeats: its second press comes after most of a second, which is this many frames.
const HELD: u64 = RATE as u64 * 3 / 4;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// Plays in the terminal, until the player or a signal says to end. Returns the program's exit code.
///
/// # Errors
/// If there is no terminal, or the game has ended by itself.
pub fn play(game: Game, building: Option<Building>) -> anyhow::Result<u8> {
    let end_building = building.as_ref().map(Building::ender);
    let terminal = Terminal::take(|| end_building.into_iter().for_each(|end| end()))?;
    // The game does not wait for a terminal that does not read.
    let (show, scenes) = mpsc::sync_channel(1);
    let (keys, typed) = mpsc::channel();
    let mut screen = Screen {
        terminal,
        scene: Scene::of(&game),
        came: Instant::now(),
        building,
        host: game.host.clone(),
        slot: game.slot.clone(),
    };
    thread::Builder::new()
        .name("game".to_owned())
        .spawn(move || ticks(game, &typed, &show))?;
    let ended = screen.run(&scenes, keys);
    drop(screen);
    let ended = ended?;
    loop {
        match scenes.recv_timeout(PATIENCE) {
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(ended.code),
            Err(RecvTimeoutError::Timeout) => break,
        }
    }
    // The terminal may be gone.
    let words = "The rules have not come back, and ended with this process: nothing else can end them.";
    let _ = writeln!(io::stderr(), "{words}");
    process::exit(ended.code.max(1).into())
}

/// The game's thread: one tick each sixtieth of a second by the clock, whatever the last tick took. It ends when the sender
/// of the keys is dropped.
fn ticks(mut game: Game, typed: &Receiver<Key>, show: &SyncSender<Scene>) {
    let (mut next, mut steer) = (Instant::now(), 0);
    let (mut frame, mut held_until) = (0, 0);
    loop {
        let mut fire = false;
        frame += 1;
        loop {
            match typed.try_recv() {
                // A terminal does not report when a key is released, so a direction holds until the next key.
                Ok(Key::Left | Key::Char('a')) => steer = -1,
                Ok(Key::Right | Key::Char('d')) => steer = 1,
                Ok(Key::Down | Key::Char('s')) => steer = 0,
                Ok(Key::Char(' ')) => fire = true,
                Ok(Key::Char('r')) => {
                    if frame > mem::replace(&mut held_until, frame + HELD) {
                        game.toggle_replay();
                    }
                }
                Ok(_) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return,
            }
        }
        game.tick(Input { steer, fire });
        // If the channel is full, the scene is dropped; a newer one follows.
        let _ = show.try_send(Scene::of(&game));
        next += FRAME;
        while next + FRAME < Instant::now() {
            next += FRAME;
            game.strip.missed += 1;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// The state of the screen's thread.
struct Screen {
    terminal: Terminal,
    /// The last scene from the game, and when it came.
    scene: Scene,
    came: Instant,
    /// The screen owns it: it reports a corrected build even while the rules hang, and ends with the screen.
    building: Option<Building>,
    host: Arc<Host>,
    slot: String,
}

impl Screen {
    fn run(&mut self, scenes: &Receiver<Scene>, keys: Sender<Key>) -> anyhow::Result<End> {
        loop {
            match scenes.try_recv() {
                Ok(scene) => (self.scene, self.came) = (scene, Instant::now()),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => bail!("the game's thread has ended by itself"),
            }
            self.add_what_it_knows();
            let drawn = self.terminal.draw(|frame| frame.render_widget(&self.scene, frame.area()));
            match drawn.and_then(|()| self.terminal.wait(FRAME)) {
                // Fails only if the game has ended; the next iteration detects that.
                Ok(Some(key)) => drop(keys.send(key)),
                Ok(None) => {}
                Err(end) => return Ok(end),
            }
        }
    }

    /// Adds to the scene: the progress of the build, the keys, and an alarm if the rules hang.
    fn add_what_it_knows(&mut self) {
        self.scene.strip.not_built = self.building.as_mut().and_then(|building| {
            building.look();
            building.error()
        });
        let since = self.came.elapsed();
        self.scene.alarm = (since > PATIENCE).then(|| {
            let slots = self.host.slots();
            let serving = slots.iter().find(|info| info.name == self.slot);
            Strip::hanging(serving.and_then(|info| info.generation).unwrap_or(0), since)
        });
        let keys = match self.slot.as_str() {
            "arcade" => "a/d or arrows: steer   s: stop   space: new ball   r: replay   q: quit",
            _ => "r: replay   q: quit",
        };
        self.scene.keys = Some(match self.scene.strip.old {
            None => format!("change plugins/{}/src/lib.rs, save it, and see\n{keys}", self.slot),
            Some(_) => keys.to_owned(),
        });
    }
}
