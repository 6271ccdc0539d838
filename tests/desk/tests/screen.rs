//! The live screen in its own terminal: its contents, its updates, and each way to end it.

use reslot_desk::variants::Builds;
use reslot_tests::pty::Screen;
use rustix::process::Signal;
use std::{fs, path::Path, process::Command, thread};

/// Starts the desk with the strategy in this folder and this script as its builder.
fn desk(folder: &Path, size: (u16, u16), builder: &str) -> Screen {
    let mut command = Command::new(env!("CARGO_BIN_EXE_desk"));
    command.args(["--live", "--folder"]).arg(folder);
    command.args(["--", "sh", "-c", builder]).env_remove("NO_COLOR");
    Screen::start(command, size)
}

/// Publishes a build.
fn publish(folder: &Path, builds: &Builds, name: &str) {
    let (new, path) = (folder.join(".new"), folder.join("libdesk_momentum.so"));
    fs::copy(builds.path(name), &new).unwrap();
    fs::rename(new, path).unwrap();
}

fn row(contents: &str) -> Option<u64> {
    contents.split("row ").nth(1)?.split(' ').next()?.parse().ok()
}

#[test]
fn screen_moves_shows_ladder_tags_and_timeline_and_saved_code_becomes_live() {
    let builds = Builds::make().unwrap();
    for size in [(100, 30), (80, 24)] {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &builds, "momentum");
        let word = folder.path().join("word");
        // A builder that fails when the test asks for it, and succeeds afterwards.
        let script = format!(
            "while [ ! -e {0} ]; do sleep 0.05; done; echo 'error[E0308]: mismatched types'; echo ' --> lib.rs:12:9'; \
             while [ -e {0} ]; do sleep 0.05; done; echo 'desk-momentum  built in 1 s'; sleep 60",
            word.display()
        );
        let mut screen = desk(folder.path(), size, &script);
        screen.wait_for(&["ladder", "desk-maker", "generation 1", "timeline", "p99.9", "row "]);
        // One of our orders, with the generation that sent it, and prices on both sides.
        screen.wait("a tagged order", |contents| {
            contents.contains(" g1 buy ") || contents.contains(" g1 sell ")
        });
        assert!(screen.any_colour());
        let first = row(&screen.contents()).expect("a row");
        screen.wait("a later row", |contents| {
            row(contents).is_some_and(|later| later > first + 50)
        });

        publish(folder.path(), &builds, "momentum-bolder");
        screen.wait_for(&["generation 2", "desk-momentum: generation 2 decides", "µs, paused"]);
        fs::write(&word, "").unwrap();
        screen.wait_for(&["does not build", "mismatched types", "lib.rs:12:9"]);
        let stopped = row(&screen.contents()).expect("a row");
        screen.wait("trading beside the error", |contents| {
            row(contents).is_some_and(|later| later > stopped)
        });
        fs::remove_file(&word).unwrap();
        screen.wait("no error", |contents| !contents.contains("does not build"));

        screen.type_in("q");
        assert_eq!(screen.ended(), Some(0), "{}", screen.contents());
        screen.assert_restored();
    }
}

#[test]
fn story_shows_its_chapters_and_l_leads_to_the_live_part() {
    let mut screen = Screen::start(Command::new(env!("CARGO_BIN_EXE_desk")), (80, 24));
    screen.wait_for(&["two strategies trade on recorded input", "l live", "row "]);
    screen.wait_for(&[
        "a parameter is changed",
        "EDGE: u64 = 0 → EDGE: u64 = 1",
        "generation 2 decides",
    ]);
    screen.wait_for(&[
        "a field more in its state",
        "holds: a changed parameter is live",
        "generation 3 decides",
    ]);
    screen.type_in("l");
    screen.wait("the live part", |contents| {
        contents.contains("live: save plugins/") && contents.contains("1 of 1 claims hold")
    });
    let first = row(&screen.contents()).expect("a row");
    assert!(first > 4_000, "it goes on where the story was: {first}");
    screen.wait("a later row", |contents| {
        row(contents).is_some_and(|later| later > first + 50)
    });
    screen.type_in("q");
    assert_eq!(screen.ended(), Some(0), "{}", screen.contents());
    screen.assert_restored();
    let left = screen.contents();
    assert!(
        left.contains("holds: a changed parameter is live") && left.contains("p99.9"),
        "{left}"
    );
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    let builds = Builds::make().unwrap();
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), &builds, "momentum");
    let shown = || {
        let mut screen = desk(folder.path(), (80, 24), "exec sleep 60");
        screen.wait_for(&["ladder", "row "]);
        screen
    };
    type Out = fn(&mut Screen);
    let ways: [(Out, i32); 4] = [
        (|screen| screen.type_in("\x03"), 0),
        (|screen| screen.signal(Signal::TERM), 143),
        (|screen| screen.signal(Signal::INT), 130),
        (Screen::hang_up, 129),
    ];
    thread::scope(|scope| {
        for (out, code) in ways {
            scope.spawn(move || {
                let mut screen = shown();
                out(&mut screen);
                assert_eq!(screen.ended(), Some(code), "{}", screen.contents());
                if code != 129 {
                    screen.assert_restored();
                }
            });
        }
    });
}

#[test]
fn strategy_that_does_not_come_back_keeps_neither_the_terminal_nor_the_builder() {
    let builds = Builds::make().unwrap();
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), &builds, "momentum-does-not-come-back");
    let started = folder.path().join("started");
    let builder = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", started.display());
    let mut screen = desk(folder.path(), (80, 24), &builder);
    screen.wait_for(&["builds are made first"]);
    screen.type_in("q");
    assert_eq!(screen.ended(), Some(1), "{}", screen.contents());
    screen.assert_restored();
    assert!(screen.contents().contains("was ended"), "{}", screen.contents());
    // The latencies are printed only when the desk ends by itself.
    assert!(!screen.contents().contains("p99.9"), "{}", screen.contents());
    let builder = fs::read_to_string(started).unwrap();
    let process = Path::new("/proc").join(builder.trim());
    assert!(!process.exists(), "it goes on: {}", process.display());
}
