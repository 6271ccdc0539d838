//! The contents of the screen, and the effects of keys on it and on the host.

use crate::place::Place;
use reslot::{Claim, Policy};
use reslot_tests::pty::Screen;
use std::process::{self, Command};

/// The generation in a slot's row.
fn generation(contents: &str, slot: &str) -> Option<u64> {
    let row = contents
        .lines()
        .find(|line| line.trim_start_matches(['>', ' ']).starts_with(slot))?;
    row.trim_start_matches(['>', ' ']).split_whitespace().nth(1)?.parse().ok()
}

fn serves(place: &Place, slot: &str) -> Option<u64> {
    let slots = place.host().slots();
    slots.iter().find(|info| &*info.name == slot).and_then(|info| info.generation)
}

#[test]
fn slots_and_reloads_are_shown() {
    let place = Place::new();
    let _shared = place.shared(1);
    let mut owned = place.owned(1);
    let mut screen = place.screen();
    let process = format!("pid {}", process::id());
    screen.wait_for(&[&process, "> shared-counter", "  counter ", " 32 B", "q quit"]);
    screen.wait("the owner", |contents| {
        contents
            .lines()
            .any(|line| line.starts_with("  counter") && line.trim_end().ends_with("yes"))
    });
    assert!(screen.contents().contains(place.folder.path().to_str().unwrap()));
    place.load("fx-shared-counter", 2);
    screen.wait("the next generation", |contents| {
        let bar = |line: &str| line.contains("shared-counter") && line.contains("swapped") && line.contains("oo");
        generation(contents, "shared-counter") == serves(&place, "shared-counter") && contents.lines().any(bar)
    });
    screen.wait_for(&["r=read", "o=open", "probation"]);
    place.load("fx-counter", 2);
    screen.wait("what waits for its owner", |contents| {
        contents
            .lines()
            .any(|line| line.starts_with("  counter") && line.contains("staged"))
    });
    let _ = Claim::sync(&mut owned);
    screen.wait("what was adopted", |contents| {
        !contents.contains("staged") && generation(contents, "counter") == serves(&place, "counter")
    });
}

#[test]
fn keys_reload_roll_back_and_confirm() {
    let place = Place::new();
    let shared = place.shared(1);
    place.load("fx-shared-counter", 2);
    let first = serves(&place, "shared-counter").unwrap();
    let mut screen = place.screen();
    screen.wait("the slot", |contents| generation(contents, "shared-counter") == Some(first));
    // Any answer but yes does nothing.
    screen.type_in("b");
    screen.wait_for(&["Roll shared-counter back to the previous version? y/n"]);
    screen.type_in("n");
    screen.wait_for(&["Nothing was rolled back."]);
    assert_eq!(shared.load().stamp().unwrap(), 2);
    screen.type_in("b");
    screen.wait_for(&["y/n"]);
    screen.type_in("y");
    screen.wait("the way back", |contents| {
        generation(contents, "shared-counter").is_some_and(|now| now != first)
    });
    assert_eq!(shared.load().stamp().unwrap(), 1);
    // A second rollback has no target, and the screen says so.
    place.load("fx-shared-counter", 3);
    screen.wait("the third build", |contents| contents.contains("probation"));
    screen.type_in("c");
    screen.wait("the end of the probation", |contents| !contents.contains("probation "));
    assert_eq!(shared.load().stamp().unwrap(), 3);
}

#[test]
fn a_reload_by_key_loads_the_file_again() {
    let place = Place::with(Policy::without_probation());
    let shared = place.shared(1);
    let first = serves(&place, "shared-counter").unwrap();
    let mut screen = place.screen();
    screen.wait("the slot", |contents| generation(contents, "shared-counter") == Some(first));
    // The file has another content now, and its folder is not watched.
    place.replace("fx-shared-counter", 7);
    screen.type_in("r");
    screen.wait("the reload", |contents| {
        generation(contents, "shared-counter").is_some_and(|now| now > first)
    });
    assert_eq!(shared.load().stamp().unwrap(), 7);
    // Loading the same content also gets an answer.
    screen.type_in("r");
    screen.wait("an answer", |contents| contents.contains("nothing was loaded"));
    // A file that is no library is refused, and the current generation keeps serving.
    place.replace_by("fx-shared-counter", b"no library");
    screen.type_in("r");
    screen.wait("a refusal", |contents| contents.lines().any(|line| line.starts_with("! ")));
    assert_eq!(shared.load().stamp().unwrap(), 7);
}

#[test]
fn one_slot_is_inspected_and_left() {
    let place = Place::new();
    let _shared = place.shared(1);
    let _owned = place.owned(1);
    let mut screen = place.screen();
    screen.wait_for(&["> shared-counter", "  counter"]);
    screen.type_in("j\r");
    screen.wait_for(&["slot counter", "interface", "hash", "libfx_counter.so", "esc back"]);
    screen.type_in("G");
    screen.wait_for(&["history"]);
    screen.type_in("\x1b");
    screen.wait_for(&["> counter", "? help"]);
    screen.type_in("\x1b[A");
    screen.wait_for(&["> shared-counter"]);
    screen.type_in("?");
    screen.wait_for(&["any key: back"]);
    screen.type_in(" ");
    screen.wait_for(&["> shared-counter"]);
}

#[test]
fn a_reload_storm_leaves_the_screen_alive() {
    let place = Place::with(Policy::without_probation());
    let shared = place.shared(0);
    let mut screen = place.screen();
    screen.wait_for(&["> shared-counter"]);
    for stamp in 1..=200 {
        place.load("fx-shared-counter", stamp);
        if stamp % 50 == 0 {
            // The screen works meanwhile: it reacts to keys.
            screen.type_in("?");
            screen.wait_for(&["any key: back"]);
            screen.type_in("?");
            screen.wait_for(&["swapped"]);
        }
    }
    let last = serves(&place, "shared-counter");
    assert_eq!(shared.load().stamp().unwrap(), 200);
    screen.wait("the last generation", |contents| {
        generation(contents, "shared-counter") == last
    });
    screen.wait("and its bar", |contents| {
        let row = |line: &str| line.contains("swapped") && line.contains(&format!(" {} ", last.unwrap()));
        contents.lines().any(row)
    });
    screen.type_in("q");
    assert_eq!(screen.ended(), Some(0));
}

#[test]
fn a_terminal_may_change_its_size() {
    let place = Place::new();
    let _shared = place.shared(1);
    let mut screen = place.screen();
    screen.wait_for(&["> shared-counter", "q quit"]);
    screen.resize(40, 10);
    screen.wait_for(&["reslot top needs 76x12, this is 40x10. q"]);
    screen.resize(100, 30);
    screen.wait_for(&["> shared-counter", "? help  q quit"]);
    assert!(screen.line(29).ends_with("q quit"), "{}", screen.line(29));
}

#[test]
fn end_of_a_host_is_shown_and_its_return_noticed() {
    let mut place = Place::with(Policy::without_probation());
    drop(place.shared(1));
    let mut screen = place.screen();
    screen.wait_for(&["> shared-counter"]);
    place.host = None;
    screen.wait_for(&["NO HOST for", "> shared-counter"]);
    screen.type_in("r");
    screen.wait("what a reload says now", |contents| {
        contents.lines().any(|line| line.starts_with("! "))
    });
    place.start(Policy::without_probation());
    screen.wait("the new host", |contents| {
        !contents.contains("NO HOST") && contents.contains("no slots yet")
    });
    screen.wait_for(&["This is another host than before."]);
    drop(place.shared(2));
    screen.wait_for(&["> shared-counter"]);
}

#[test]
fn a_host_may_come_later() {
    let mut place = Place::with(Policy::without_probation());
    place.host = None;
    let mut screen = place.screen();
    screen.wait_for(&["reslot top", "control.sock", "NO HOST"]);
    screen.type_in("rbc\r");
    screen.wait_for(&["There is no slot yet"]);
    place.start(Policy::without_probation());
    screen.wait_for(&["no slots yet", "The host is running."]);
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    let place = Place::new();
    let _shared = place.shared(1);
    let mut plain = place.screen();
    plain.wait_for(&["> shared-counter", "swapped", "q quit"]);
    assert!(!plain.any_colour(), "NO_COLOR is set");
    let mut command: Command = place.top();
    command.env_remove("NO_COLOR");
    let mut coloured = Screen::start(command, (80, 24));
    coloured.wait_for(&["> shared-counter", "swapped", "q quit"]);
    assert!(coloured.any_colour());
}

#[test]
fn slot_that_the_host_no_longer_knows_is_reported() {
    let mut place = Place::with(Policy::without_probation());
    drop(place.shared(1));
    let mut screen = place.screen();
    screen.wait_for(&["> shared-counter"]);
    screen.type_in("\r");
    screen.wait_for(&["slot shared-counter", "interface      SharedCounter"]);
    place.host = None;
    screen.wait_for(&["NO HOST for"]);
    place.start(Policy::without_probation());
    screen.wait_for(&["This slot does not exist any more. Esc closes this page."]);
    screen.type_in("r");
    screen.wait("the host's answer", |contents| {
        contents
            .lines()
            .any(|line| line.starts_with("! ") && line.contains("shared-counter"))
    });
    screen.type_in("\x1b");
    screen.wait_for(&["no slots yet"]);
}
