//! The game as a player sees it: rules are adopted, fail or are refused, and the game never stops.

use arcade_interfaces::{Input, World};
use ratatui::{buffer::Buffer, layout::Rect, widgets::Widget};
use reslot::{Event, Policy};
use reslot_arcade::{
    game::{Game, Ticked},
    picture::Scene,
    png_file, rle,
    strip::Strip,
    world::Table,
};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};
use xtask::Building;

const PATIENCE: Duration = Duration::from_secs(30);

/// The same code with another content: the bytes at the end are ignored by the loader.
fn build(package: &str, stamp: u64) -> Vec<u8> {
    let mut bytes = Fixture::build(package).bytes().to_vec();
    bytes.extend(stamp.to_le_bytes());
    bytes
}

fn open(policy: Policy) -> (Folder, Game) {
    let folder = Folder::new();
    folder.publish("libarcade.so", &build("arcade", 0));
    let game = Game::open(folder.path(), "arcade", Table::default(), policy).unwrap();
    (folder, game)
}

/// A player who moves, and sometimes fires.
fn input(tick: u64) -> Input {
    Input {
        steer: [1, 1, 0, -1, -1, 0, 1][tick as usize / 7 % 7],
        fire: tick % 97 == 96,
    }
}

fn play(game: &mut Game, ticks: u64) -> Vec<Ticked> {
    let tick = |_| game.tick(input(game.world.ticks()));
    (0..ticks).map(tick).collect()
}

/// Plays until a condition holds.
fn play_until(game: &mut Game, what: &str, mut done: impl FnMut(&Game, Ticked) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ticked = game.tick(input(game.world.ticks()));
        if done(game, ticked) {
            return;
        }
        assert!(Instant::now() < deadline, "{what} did not come: {:#?}", game.strip);
        thread::yield_now();
    }
}

/// Gives a build to the game's host and waits for the answer. The build is outside the watched folder; otherwise the host
/// would load it twice.
fn publish(game: &Game, bytes: &[u8]) {
    let folder = Folder::new();
    game.host.load(folder.publish("libarcade.so", bytes)).unwrap();
}

fn shown(game: &Game) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    Scene::of(game).render(buffer.area, &mut buffer);
    buffer
}

/// The text of a buffer without its line ends, because words are wrapped there.
fn words(buffer: &Buffer) -> String {
    let row = |row: Rect| row.positions().map(|at| buffer[at].symbol().to_owned()).collect::<String>();
    let text: Vec<_> = buffer.area.rows().map(row).collect();
    text.join("\n").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn world_is_the_same_with_and_without_reloads() {
    const TICKS: u64 = 600;
    let (_kept, mut calm) = open(Policy::without_probation());
    let (_folder, mut stormy) = open(Policy::without_probation());
    let mut hashes = Vec::new();
    for tick in 0..TICKS {
        calm.tick(input(tick));
        publish(&stormy, &build("arcade", tick + 1));
        let ticked = stormy.tick(input(tick));
        assert!(ticked.swapped && ticked.done, "tick {tick}: {ticked:?}");
        assert_eq!(stormy.world.hash(), calm.world.hash(), "tick {tick}");
        hashes.push(calm.world.hash());
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len() as u64, TICKS, "the world stood still");
    assert_eq!(calm.strip.generation, 1);
    assert_eq!(stormy.strip.generation, TICKS + 1);
    // The state counts the ticks of all builds.
    assert!(stormy.strip.title.contains("600 ticks seen"), "{}", stormy.strip.title);
    // Other input leads to another world, so the hash depends on what the rules do.
    let (_kept, mut other) = open(Policy::without_probation());
    for _ in 0..TICKS {
        other.tick(Input::default());
    }
    assert_ne!(other.world.hash(), calm.world.hash());
}

#[test]
fn tick_that_panics_is_done_again_by_the_rules_before() {
    // The previous rules are the standby, or are loaded again.
    for probation in [Policy::development(), Policy::without_probation()] {
        let (_folder, mut game) = open(probation.clone());
        let (_kept, mut calm) = open(probation);
        play(&mut game, 30);
        play(&mut calm, 31);
        publish(&game, &build("fx-rules-panicking", 1));
        // The tick is done in the same frame in which it failed.
        let ticked = game.tick(input(30));
        assert!(ticked.swapped, "{ticked:?}");
        assert!(ticked.redone && ticked.done, "{ticked:?}: {:#?}", game.strip);
        assert_eq!(
            game.world.hash(),
            calm.world.hash(),
            "nothing of the faulty tick is left, and nothing is lost"
        );
        let words = words(&shown(&game));
        assert!(words.contains("nobody thought of tick 30"), "{words}");
        assert!(words.contains("rolled back at tick 30"), "{words}");
        assert!(
            game.strip.swap.is_some_and(|swap| swap.pause > Duration::ZERO),
            "what it cost is told"
        );
        assert!(play(&mut game, 60).iter().all(|ticked| ticked.done && !ticked.redone));
        play(&mut calm, 60);
        assert_eq!(game.world.hash(), calm.world.hash());
    }
}

#[test]
fn rules_without_an_earlier_version_are_called_again_when_they_fail() {
    let folder = Folder::new();
    folder.publish("libarcade.so", &build("fx-rules-panicking", 1));
    let mut game = Game::open(folder.path(), "arcade", Table::default(), Policy::without_probation()).unwrap();
    assert!(play(&mut game, 20).iter().all(|ticked| !ticked.done && !ticked.redone));
    assert_eq!(game.world.ticks(), 0);
    let asked = |event: &Event| matches!(event, Event::NoFallback { .. });
    let mut events = game.host.events();
    let answers = std::iter::from_fn(|| events.try_recv()).filter(|record| asked(&record.event));
    assert_eq!(answers.count(), 1, "it is asked once");
    let words = words(&shown(&game));
    assert!(words.contains("generation 1"), "{words}");
    // The corrected build is adopted.
    publish(&game, &build("arcade", 2));
    assert!(game.tick(Input::default()).done);
    // If that fails later, the game rolls back again.
    publish(&game, &build("fx-rules-panicking", 3));
    let ticked = game.tick(Input::default());
    assert!(ticked.redone && ticked.done, "{ticked:?}: {:#?}", game.strip);
}

#[test]
fn state_that_does_not_fit_is_refused_in_words() {
    let (folder, mut game) = open(Policy::without_probation());
    play(&mut game, 10);
    folder.publish("libarcade.so", &build("fx-rules-grown", 1));
    play_until(&mut game, "a refusal", |game, ticked| {
        assert!(ticked.done, "play stopped");
        game.strip.trouble.is_some()
    });
    let words = words(&shown(&game));
    assert!(words.contains("refused") && words.contains("schema"), "{words}");
    assert_eq!(game.strip.generation, 1);
    // The next good build is adopted, and the error disappears.
    folder.publish("libarcade.so", &build("arcade", 2));
    play_until(&mut game, "the good build", |_, ticked| ticked.swapped);
    assert_eq!(game.strip.trouble, None);
}

#[test]
fn code_that_stays_is_shown_with_its_reason_and_code_that_goes_as_gone() {
    let (_folder, mut game) = open(Policy::without_probation());
    publish(&game, &build("fx-rules-handler", 1));
    play_until(&mut game, "the first one's end", |game, _| {
        game.strip.old.as_deref() == Some("generation 1 proven gone")
    });
    assert!(words(&shown(&game)).contains("generation 1 proven gone"));
    publish(&game, &build("arcade", 2));
    play_until(&mut game, "the reason", |game, _| {
        game.strip
            .old
            .as_ref()
            .is_some_and(|old| old.starts_with("generation 2 KEPT"))
    });
    let words = words(&shown(&game));
    assert!(words.contains("KEPT: the handlers of signals [28] point into it"), "{words}");
    assert!(play(&mut game, 10).iter().all(|ticked| ticked.done));
}

#[test]
fn compilers_words_are_shown_until_a_build_succeeds() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("wrong.rs");
    fs::write(&source, "pub fn rules() -> u32 { \"no number\" }\n").unwrap();
    let (_folder, mut game) = open(Policy::without_probation());
    // As `build-plugin --watch` does: the compiler's output, then its own line; then another save, which builds. Both use
    // one stream, because here no time passes between them.
    let mut command = Command::new("sh");
    command.current_dir(scratch.path()).args([
        "-c",
        "exec 1>&2; rustc --crate-type lib --emit metadata wrong.rs; echo 'error: plugin `arcade` was not built' >&2; read _ < go; \
         echo 'arcade 1 MB  built in 0.1 s'",
    ]);
    assert!(
        Command::new("mkfifo")
            .arg(scratch.path().join("go"))
            .status()
            .unwrap()
            .success()
    );
    let mut building = Building::start(command).unwrap();
    let mut look = |game: &mut Game| {
        if building.look() {
            game.strip.not_built = building.error();
        }
    };
    play_until(&mut game, "the error", |_, ticked| ticked.done);
    let deadline = Instant::now() + PATIENCE;
    while !words(&shown(&game)).contains("mismatched types") {
        assert!(Instant::now() < deadline, "{}", words(&shown(&game)));
        look(&mut game);
        assert!(game.tick(Input::default()).done);
    }
    assert!(words(&shown(&game)).contains("wrong.rs:1:25"), "{}", words(&shown(&game)));
    fs::write(scratch.path().join("go"), "\n").unwrap();
    while game.strip.not_built.is_some() {
        assert!(Instant::now() < deadline);
        look(&mut game);
    }
    assert!(!words(&shown(&game)).contains("mismatched types"));
}

#[test]
fn last_seconds_are_played_again_under_both_rules() {
    let heavy = Fixture::build("arcade").changed(|bytes| {
        // The constant as bytes in the code: gravity becomes ten times as strong.
        let (old, new) = (0.006f32.to_le_bytes(), 0.06f32.to_le_bytes());
        let places: Vec<_> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == old).collect();
        assert!(!places.is_empty(), "the constant is somewhere");
        places.iter().for_each(|at| bytes[*at..*at + 4].copy_from_slice(&new));
    });
    // It works during probation too.
    for policy in [Policy::without_probation(), Policy::development()] {
        let (_folder, mut game) = open(policy);
        play(&mut game, 200);
        publish(&game, heavy.bytes());
        game.tick(input(200));
        let before = game.world.ticks();
        game.toggle_replay();
        let both = |game: &Game| {
            game.trails()
                .is_some_and(|trails| trails.iter().all(|trail| !trail.balls.is_empty()))
        };
        play_until(&mut game, "the replay", |game, ticked| {
            assert!(ticked.done, "play stopped for it");
            both(game)
        });
        assert!(game.world.ticks() > before);
        let [old, new] = game.trails().unwrap().each_ref().map(|trail| &trail.balls);
        assert_eq!((old.len(), new.len()), (201, 201));
        // Both trails replay the same five seconds: the old rules repeat the original, the new ones differ.
        assert_eq!(old[0].0.to_bits(), new[0].0.to_bits(), "both begin with the same ball");
        assert!(
            old.iter().zip(new).any(|(old, new)| old != new),
            "the new rules make no difference"
        );
        game.toggle_replay();
        assert!(game.trails().is_none());
    }
}

#[test]
fn rules_that_were_left_have_a_trail_as_far_as_they_came() {
    let (_folder, mut game) = open(Policy::development());
    play(&mut game, 50);
    publish(&game, &build("arcade", 1));
    play(&mut game, 1);
    publish(&game, &build("fx-rules-panicking", 2));
    game.toggle_replay();
    assert!(game.tick(input(51)).redone);
    play_until(&mut game, "the replay", |game, _| {
        game.trails().is_some_and(|[_, new]| !new.balls.is_empty())
    });
    let [old, new] = game.trails().unwrap();
    // The old trail is that of the second build, which the first panic's rollback restored, over the recording at the time
    // of the request.
    assert_eq!((old.balls.len(), new.balls.len()), (0, 51));
    assert!(
        words(&shown(&game)).contains("o old rules (none), + new rules"),
        "{}",
        words(&shown(&game))
    );
}

#[test]
fn cells_leave_a_trail() {
    let folder = Folder::new();
    folder.publish("liblife.so", &build("life", 0));
    let blinker = rle::read("x = 3, y = 1\n3o!").unwrap();
    let world = Table::of_cells(rle::centred(blinker));
    let mut game = Game::open(folder.path(), "life", world, Policy::development()).unwrap();
    play(&mut game, 311);
    // The fixture makes its mistake in the 300th generation, the last that is replayed; the blinker lies on its side then.
    publish(&game, &build("fx-life-mistaken", 1));
    play(&mut game, 1);
    game.toggle_replay();
    play_until(&mut game, "the replay", |game, ticked| {
        assert!(ticked.done);
        game.trails()
            .is_some_and(|trails| trails.iter().all(|trail| !trail.cells.is_empty()))
    });
    let [old, new] = game.trails().unwrap();
    assert_eq!(
        (old.cells.len(), new.cells.len()),
        (3, 2),
        "a blinker, and what the mistake has left of it"
    );
    // In the picture two of its cells belong to both trails, and one only to the old rules'.
    let screen = words(&shown(&game));
    let (_, play) = screen.split_once("* both").unwrap();
    let (play, _) = play.split_once("generation").unwrap();
    assert!(play.contains('*') && play.contains('o') && !play.contains('+'), "{play}");
}

#[test]
fn pictures_move_and_show_the_strip() {
    let scratch = tempfile::tempdir().unwrap();
    let (_folder, mut game) = open(Policy::without_probation());
    play(&mut game, 5);
    let picture = |game: &Game, name: &str| {
        let file = scratch.path().join(name);
        png_file::write(&shown(game), &file).unwrap();
        let reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(file).unwrap())).read_info();
        let mut reader = reader.unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (640, 384));
        // The strip is the last seven lines of sixteen pixels.
        let strip = pixels.split_off(640 * 3 * (384 - 7 * 16));
        (pixels, strip)
    };
    let (play_1, strip_1) = picture(&game, "1.png");
    let (again, _) = picture(&game, "again.png");
    assert!(again == play_1, "the same world is the same picture");
    play(&mut game, 20);
    let (play_2, _) = picture(&game, "2.png");
    assert!(play_1 != play_2, "the screen is frozen");
    publish(&game, &build("arcade", 1));
    play(&mut game, 1);
    let (_, strip_2) = picture(&game, "3.png");
    assert!(strip_1 != strip_2, "the strip does not tell of the swap");
    let words = words(&shown(&game));
    for part in [
        "generation 2 (bricks, gravity 0.006",
        "swapped at tick 25",
        "paused",
        "bytes of state",
        "missed 0 frames",
    ] {
        assert!(words.contains(part), "no {part:?} in {words}");
    }
}

#[test]
fn rules_that_do_not_return_are_reported() {
    let (_folder, game) = open(Policy::without_probation());
    let mut buffer = Buffer::empty(Rect::new(0, 0, 80, 24));
    let scene = Scene {
        alarm: Some(Strip::hanging(1, Duration::from_secs(3))),
        ..Scene::of(&game)
    };
    scene.render(buffer.area, &mut buffer);
    let words = words(&buffer);
    for part in [
        "generation 1 have not come back for 3 s",
        "cannot be ended inside a process",
        "start again",
    ] {
        assert!(words.contains(part), "no {part:?} in {words}");
    }
}
