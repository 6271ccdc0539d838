//! The game in a real terminal: what the screen shows, how it handles a reload and an endless loop, and how it ends.

use reslot_tests::pty::Screen;
use reslot_tests::{Fixture, Folder};
use rustix::process::Signal;
use std::{fs, path::PathBuf, process::Command};

/// A folder with rules, and a builder for the game.
struct Place {
    folder: Folder,
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: Folder::new(),
            scratch: tempfile::tempdir().unwrap(),
        };
        place.publish("arcade");
        place
    }

    fn publish(&self, rules: &str) {
        self.folder.publish("libarcade.so", Fixture::build(rules).bytes());
    }

    /// Another build of the same rules.
    fn publish_again(&self, number: u8) {
        let mut bytes = Fixture::build("arcade").bytes().to_vec();
        bytes.push(number);
        self.folder.publish("libarcade.so", &bytes);
    }

    fn game(&self) -> Command {
        let mut game = Command::new(env!("CARGO_BIN_EXE_arcade"));
        game.arg("--folder").arg(self.folder.path());
        game.args(["--", "sh", "-c", "echo $$ > \"$0\"; exec sleep 1000"])
            .arg(self.scratch.path().join("builder"));
        game
    }

    /// Starts the game and waits until it plays.
    fn screen(&self, size: (u16, u16)) -> Screen {
        let mut screen = Screen::start(self.game(), size);
        screen.wait_for(&["generation 1 (bricks", "score", "change plugins/arcade/src/lib.rs", "q: quit"]);
        screen.wait("the builder", |_| self.builder().is_some());
        screen
    }

    /// The builder's folder in /proc.
    fn builder(&self) -> Option<PathBuf> {
        let id = fs::read_to_string(self.scratch.path().join("builder")).ok()?;
        id.ends_with('\n').then(|| PathBuf::from("/proc").join(id.trim()))
    }

    fn assert_no_builder(&self) {
        let builder = self.builder().expect("there was one");
        assert!(!builder.exists(), "the builder goes on without the game");
    }
}

/// The part of the screen in which the game is.
fn play(contents: &str) -> String {
    contents.lines().take(17).collect()
}

/// The number of calls that the rules report.
fn ticks(contents: &str) -> u64 {
    let seen = contents
        .split(" ticks seen")
        .next()
        .and_then(|before| before.split(' ').next_back());
    seen.and_then(|number| number.parse().ok()).expect("they say it")
}

#[test]
fn reload_is_shown_and_the_game_continues() {
    let place = Place::new();
    for (columns, rows) in [(80, 24), (120, 40)] {
        place.publish("arcade");
        let mut screen = place.screen((columns, rows));
        assert!(screen.any_colour());
        assert!(
            screen.line(usize::from(rows) - 1).starts_with("a/d or arrows"),
            "{}",
            screen.contents()
        );
        let before = play(&screen.contents());
        assert!(before.contains('▀'), "{before}");
        screen.wait("another picture", |contents| play(contents) != before);
        place.publish_again(2);
        screen.wait_for(&["generation 2 (bricks", "swapped at tick", "generation 1 is the standby"]);
        let before = play(&screen.contents());
        screen.wait("another picture", |contents| play(contents) != before);
        screen.wait_for(&["generation 1 proven gone"]);
        // The second build has passed its probation, so the host has kept it, and the replay can compare it with the third.
        place.publish_again(3);
        screen.wait_for(&["generation 3 (bricks"]);
        let replay = "o old rules, + new rules, * both";
        // A held key turns the replay on once; a later press turns it off.
        screen.type_in("rr");
        screen.wait("the trails", |contents| {
            contents.contains(replay) && contents.lines().skip(2).take(15).any(|line| line.contains("**"))
        });
        let from = ticks(&screen.contents());
        screen.wait("a second", |contents| ticks(contents) > from + 60);
        assert!(screen.contents().contains(replay), "{}", screen.contents());
        screen.type_in("r");
        screen.wait("no trails", |contents| !contents.contains(replay));
        screen.type_in("q");
        assert_eq!(screen.ended(), Some(0));
        screen.assert_restored();
        place.assert_no_builder();
    }
}

#[test]
fn every_way_out_restores_the_terminal() {
    let place = Place::new();
    for keys in ["q", "\x03", "dr q"] {
        let mut screen = place.screen((80, 24));
        screen.type_in(keys);
        assert_eq!(screen.ended(), Some(0), "{keys:?}");
        screen.assert_restored();
        place.assert_no_builder();
    }
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let mut screen = place.screen((80, 24));
        screen.signal(signal);
        assert_eq!(screen.ended(), Some(code), "{signal:?}");
        screen.assert_restored();
        place.assert_no_builder();
    }
    let mut screen = place.screen((80, 24));
    screen.hang_up();
    assert_eq!(screen.ended(), Some(129));
    place.assert_no_builder();
}

#[test]
fn endless_rules_are_reported_and_the_player_can_leave() {
    for (way_out, code) in [(None, 1), (Some(Signal::TERM), 143)] {
        let place = Place::new();
        let mut screen = place.screen((80, 24));
        place.publish("fx-rules-endless");
        screen.wait_for(&[
            "rules of generation 2 have not come back for",
            "cannot be ended inside a process",
        ]);
        match way_out {
            None => screen.type_in("q"),
            Some(signal) => screen.signal(signal),
        }
        assert_eq!(screen.ended(), Some(code));
        assert!(screen.contents().contains("ended with this process"), "{}", screen.contents());
        screen.assert_restored();
        place.assert_no_builder();
    }
}

#[test]
fn without_a_terminal_it_names_the_headless_option() {
    let place = Place::new();
    let output = place.game().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--headless"), "{said}");
    assert!(place.builder().is_none());
}
