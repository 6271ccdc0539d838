//! Each way to end: keys, signals, a terminal that hangs up or never existed.

use crate::place::Place;
use reslot::Policy;
use reslot_tests::pty::Screen;
use rustix::process::Signal;
use std::process::Stdio;

fn shown(place: &Place) -> Screen {
    let mut screen = place.screen();
    screen.wait_for(&["no slots yet", "q quit"]);
    screen
}

fn place() -> Place {
    Place::with(Policy::without_probation())
}

#[test]
fn keys_end_it_and_the_terminal_is_as_it_was() {
    let place = place();
    for keys in ["q", "\x03", "?q", "b\x03"] {
        let mut screen = shown(&place);
        screen.type_in(keys);
        assert_eq!(screen.ended(), Some(0), "{keys:?}");
        screen.assert_restored();
    }
}

#[test]
fn signals_end_it_and_the_terminal_is_as_it_was() {
    let place = place();
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::HUP, 6)] {
        let mut screen = shown(&place);
        screen.signal(signal);
        assert_eq!(screen.ended(), Some(code), "{signal:?}");
        screen.assert_restored();
    }
}

#[test]
fn a_terminal_that_hangs_up_ends_it_with_6() {
    let place = place();
    // Also without a host, and in the middle of a key's sequence.
    for keys in ["", "\x1b[", "\x1b", "?"] {
        let mut screen = shown(&place);
        screen.type_in(keys);
        screen.hang_up();
        assert_eq!(screen.ended(), Some(6), "{keys:?}");
    }
}

#[test]
fn a_terminal_that_hangs_up_while_the_host_is_gone_ends_it_with_6() {
    let mut place = place();
    let mut screen = shown(&place);
    place.host = None;
    screen.wait_for(&["NO HOST"]);
    screen.hang_up();
    assert_eq!(screen.ended(), Some(6));
}

#[test]
fn without_a_terminal_it_names_its_requirements() {
    let place = place();
    for stdin in [Stdio::null(), Stdio::piped()] {
        let output = place.top().stdin(stdin).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(6));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("needs a terminal"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_program_that_was_stopped_draws_again() {
    let place = place();
    let mut screen = shown(&place);
    screen.signal(Signal::STOP);
    screen.resize(90, 30);
    screen.signal(Signal::CONT);
    screen.wait("the screen", |contents| {
        contents.lines().count() == 30 && contents.ends_with("q quit")
    });
    screen.type_in("q");
    assert_eq!(screen.ended(), Some(0));
    screen.assert_restored();
}
