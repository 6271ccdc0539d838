//! The game and the screen have a thread each, so that the screen can tell when the rules do not come back, and end all the same. They
//! send each other what is to be seen and what is typed, and neither waits for the other.

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
/// Who holds a key down presses it again and again, the second time after most of a second: so many frames.
const HELD: u64 = RATE as u64 * 3 / 4;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// Plays in the terminal, until the player or a signal says to end. Answers the program's exit code.
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
    // To a terminal that may be gone.
    let words = "The rules have not come back, and ended with this process: nothing else can end them.";
    let _ = writeln!(io::stderr(), "{words}");
    process::exit(ended.code.max(1).into())
}

/// The game's thread: a tick each sixtieth of a second, by the clock and not by what the last one took. It ends when nobody types any more.
fn ticks(mut game: Game, typed: &Receiver<Key>, show: &SyncSender<Scene>) {
    let (mut next, mut steer) = (Instant::now(), 0);
    let (mut frame, mut held_until) = (0, 0);
    loop {
        let mut fire = false;
        frame += 1;
        loop {
            match typed.try_recv() {
                // Terminals tell no key's release: a direction holds until another key.
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
        // One that is not taken is followed by a newer one.
        let _ = show.try_send(Scene::of(&game));
        next += FRAME;
        while next + FRAME < Instant::now() {
            next += FRAME;
            game.strip.missed += 1;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// What the screen's thread has.
struct Screen {
    terminal: Terminal,
    /// What the game has sent last, and when.
    scene: Scene,
    came: Instant,
    /// Here and not with the game: it tells of a correction also while the rules hang, and ends with the screen.
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
                // Fails only if the game has ended, which is found next.
                Ok(Some(key)) => drop(keys.send(key)),
                Ok(None) => {}
                Err(end) => return Ok(end),
            }
        }
    }

    /// To the scene: how the build goes, what can be done, and whether the rules come back.
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
