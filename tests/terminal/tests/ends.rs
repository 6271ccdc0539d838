//! In a real terminal: keys arrive, and each way to end restores the terminal.

use reslot_tests::pty::Screen;
use rustix::process::Signal;
use std::process::{Command, Stdio};
use tempfile::{TempDir, tempdir};

fn program(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_terminal-keys"));
    command.arg(folder.path().join("at-last"));
    command
}

fn shown(folder: &TempDir) -> Screen {
    let mut screen = Screen::start(program(folder), (80, 24));
    screen.wait_for(&["ready"]);
    screen
}

#[test]
fn keys_come_in_one_by_one_and_in_pieces() {
    let folder = tempdir().unwrap();
    let mut screen = shown(&folder);
    screen.type_in("a\x1b[A\x1b[B \x1bOC\x1b[D");
    screen.wait_for(&["Char('a')\nUp\nDown\nChar(' ')\nRight\nLeft"]);
    screen.resize(60, 20);
    screen.type_in("z");
    screen.wait_for(&["Char('z')"]);
    screen.type_in("\x1b");
    assert_eq!(screen.ended(), Some(0), "Esc is a key of its own when nothing follows it");
    screen.assert_restored();
}

#[test]
fn keys_signals_and_panics_end_it_and_the_terminal_is_as_it_was() {
    for (keys, code) in [("q", 0), ("\x03", 0), ("\x04", 0), ("\x1c", 0), ("p", 101)] {
        let folder = tempdir().unwrap();
        let mut screen = shown(&folder);
        screen.type_in(keys);
        assert_eq!(screen.ended(), Some(code), "{keys:?}");
        screen.assert_restored();
        assert_eq!(
            screen.contents().contains("as it was asked to"),
            keys == "p",
            "{}",
            screen.contents()
        );
    }
    for (signal, code) in [
        (Signal::TERM, 143),
        (Signal::INT, 130),
        (Signal::QUIT, 131),
        (Signal::HUP, 129),
    ] {
        let folder = tempdir().unwrap();
        let mut screen = shown(&folder);
        screen.signal(signal);
        assert_eq!(screen.ended(), Some(code), "{signal:?}");
        screen.assert_restored();
    }
}

#[test]
fn terminal_that_hangs_up_ends_it() {
    // Also in the middle of a key, while the program is busy, and while it writes.
    for keys in ["", "\x1b", "\x1b[", "h", "w"] {
        let folder = tempdir().unwrap();
        let mut screen = shown(&folder);
        screen.type_in(keys);
        screen.hang_up();
        assert_eq!(screen.ended(), Some(129), "{keys:?}");
    }
}

#[test]
fn program_that_does_not_end_is_ended() {
    for (keys, code) in [("hq", 1), ("h", 143)] {
        let folder = tempdir().unwrap();
        let mut screen = shown(&folder);
        screen.type_in(keys);
        screen.wait_for(&["hangs"]);
        if keys == "h" {
            screen.signal(Signal::TERM);
        }
        assert_eq!(screen.ended(), Some(code), "{keys:?}");
        assert!(folder.path().join("at-last").exists());
        screen.assert_restored();
    }
    // Also while it writes to a terminal that does not read and so cannot be restored.
    let folder = tempdir().unwrap();
    let mut screen = shown(&folder);
    screen.type_in("w");
    screen.wait_for(&["++++"]);
    screen.signal(Signal::TERM);
    assert_eq!(screen.ended_unread(), Some(143));
    assert!(folder.path().join("at-last").exists());
}

#[test]
fn without_a_terminal_it_is_refused() {
    let output = program(&tempdir().unwrap()).stdin(Stdio::null()).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
}
