//! Screens of many sizes, drawn into memory.

use super::*;
use crate::top::{
    keys::Key,
    model::{Detail, Message, News},
    samples::{bare, full, host, reload},
};
use ratatui::{Terminal, backend::TestBackend};
use reslot_control::protocol::{HeldGeneration, Overview, SlotStatus, Version};
use std::time::Duration;

const PLAIN: Paint = Paint { colours: false };
const COLOURED: Paint = Paint { colours: true };

fn model(overview: Overview) -> Model {
    let mut model = Model::new("/run/desk.sock".to_owned());
    model.learn(News::Seen(Box::new(overview), None), Instant::now());
    model
}

fn terminal(model: &mut Model, paint: Paint, (width, height): (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal
        .draw(|frame| screen(frame, model, paint, Instant::now()))
        .expect("memory");
    terminal
}

/// The screen's lines, without what is empty at their ends.
fn lines(model: &mut Model, size: (u16, u16)) -> Vec<String> {
    let terminal = terminal(model, PLAIN, size);
    let cells = terminal.backend().buffer().content();
    if size.0 == 0 {
        return Vec::new();
    }
    let line = |cells: &[ratatui::buffer::Cell]| {
        // A wide character stands in one cell, and leaves the next one empty.
        let mut skip = 0;
        let mut line = String::new();
        for cell in cells {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            skip = text::width(cell.symbol()).saturating_sub(1);
            line.push_str(cell.symbol());
        }
        line.trim_end().to_owned()
    };
    cells.chunks(usize::from(size.0)).map(line).collect()
}

fn found<'a>(lines: &'a [String], what: &str) -> &'a str {
    lines
        .iter()
        .find(|line| line.contains(what))
        .unwrap_or_else(|| panic!("no {what:?} in\n{}", lines.join("\n")))
}

fn reloaded() -> Overview {
    let steps = [
        ("notice", 100.0),
        ("read", 200.0),
        ("open", 500.0),
        ("swap", 1.0),
        ("from-the-future", 199.0),
    ];
    let mut overview = host(vec![
        full("momentum"),
        SlotStatus {
            state: "serving".to_owned(),
            ..bare("pricer")
        },
    ]);
    overview.reloads = vec![
        reload("momentum", Some(12), "swapped", &steps),
        reload("pricer", None, "refused", &[]),
    ];
    overview.reloads[1].reason = Some("libpricer.so does not export a root".to_owned());
    overview
}

#[test]
fn everything_stands_on_the_usual_screen() {
    let mut overview = reloaded();
    let mut model = model(overview.clone());
    overview.uptime_ms += 1000;
    overview.slots[0].calls = Some(3500);
    overview.slots[0].faults += 4;
    model.learn(News::Seen(Box::new(overview), None), Instant::now());
    let lines = lines(&mut model, (80, 24));
    assert_eq!(lines.len(), 24);
    assert_eq!(lines[0], "desk  pid 4242  up 2 h 5 min  images 5 mapped, 1 quarantined");
    assert_eq!(lines[1], "folder /srv/desk/plugins");
    assert_eq!(
        lines[2],
        "  slot             gen state     health  calls/s faults/s     live holders owned"
    );
    assert_eq!(
        lines[3],
        "> momentum          12 serving   healthy    2.5k      4.0 12.3 KiB       4 yes"
    );
    assert_eq!(
        lines[4],
        "  pricer             - serving   -             -        0        -       0 -"
    );
    let row = found(&lines, "swapped");
    assert!(
        row.starts_with("01:01:01 momentum          12 swapped      1.00 ms nnnrrrrrro"),
        "{row}"
    );
    assert!(row.ends_with("??????") && row.len() > 75, "{row}");
    assert!(found(&lines, "refused").contains("libpricer.so does no"));
    assert_eq!(found(&lines, "n=notice"), "n=notice r=read o=open w=swap ?=other");
    assert!(
        lines[23].contains("r reload") && lines[23].ends_with("q quit"),
        "{}",
        lines[23]
    );
}

#[test]
fn a_large_screen_has_room_for_reasons() {
    let lines = lines(&mut model(reloaded()), (120, 40));
    assert!(found(&lines, "refused").ends_with("libpricer.so does not export a root"));
    assert!(found(&lines, "swapped").ends_with('?'));
}

#[test]
fn a_screen_too_small_says_so() {
    let lines = lines(&mut model(reloaded()), (40, 10));
    assert_eq!(&lines[..2], ["reslot top needs 76x12, this is 40x10. q", "quits."]);
    assert!(lines[2..].iter().all(String::is_empty));
}

#[test]
fn colours_say_nothing_that_characters_do_not() {
    let mut model = model(reloaded());
    let (coloured, plain) = (
        terminal(&mut model, COLOURED, (80, 24)),
        terminal(&mut model, PLAIN, (80, 24)),
    );
    let (coloured, plain) = (coloured.backend().buffer().content(), plain.backend().buffer().content());
    assert!(coloured.iter().zip(plain).all(|(one, other)| one.symbol() == other.symbol()));
    assert!(plain.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    let steps: Vec<_> = coloured.iter().filter(|cell| cell.bg != Color::Reset).collect();
    for letter in ["n", "r", "o", "?"] {
        let mut colours: Vec<_> = steps
            .iter()
            .filter(|cell| cell.symbol() == letter)
            .map(|cell| cell.bg)
            .collect();
        colours.dedup();
        assert_eq!(colours.len(), 1, "{letter}");
    }
}

#[test]
fn the_selected_slot_is_in_sight_and_marked() {
    let slots = (0..200).map(|n| bare(&format!("slot-{n}"))).collect();
    let mut model = model(host(slots));
    for size in [(80, 24), (120, 40), (76, 12)] {
        for place in [0, 1, 7, 100, 198, 199] {
            model.press(Key::Home);
            (0..place).for_each(|_| drop(model.press(Key::Down)));
            let lines = lines(&mut model, size);
            let marked: Vec<_> = lines.iter().filter(|line| line.starts_with("> ")).collect();
            assert_eq!(marked.len(), 1, "{place} at {size:?}");
            assert_eq!(marked[0].split_whitespace().nth(1), Some(format!("slot-{place}").as_str()));
            let (first, last) = (lines[3].clone(), found(&lines, &format!("{}/200", place + 1)));
            assert!(first.contains("slot-") && last.contains("/200"));
        }
    }
    let terminal = terminal(&mut model, PLAIN, (80, 24));
    assert!(
        terminal
            .backend()
            .buffer()
            .content()
            .iter()
            .any(|cell| cell.modifier.contains(Modifier::REVERSED))
    );
}

#[test]
fn nothing_known_is_no_garbage() {
    let mut fresh = Model::new("/run/desk.sock".to_owned());
    let drawn = lines(&mut fresh, (80, 24));
    assert_eq!(&drawn[..2], ["reslot top  /run/desk.sock", "asking …"]);
    fresh.learn(News::Lost("there is no socket /run/desk.sock".to_owned()), Instant::now());
    assert_eq!(
        lines(&mut fresh, (80, 24))[1],
        "NO HOST for 0 s, looking for it: there is no socket /run/desk.sock"
    );
    let mut empty = model(Overview {
        folder: None,
        ..host(Vec::new())
    });
    let drawn = lines(&mut empty, (80, 24));
    assert_eq!(drawn[1], "no folder");
    assert_eq!(
        (drawn[3].trim(), found(&drawn, "no reloads yet")),
        ("no slots yet", "no reloads yet")
    );
    let drawn = lines(&mut model(host(vec![bare("a")])), (80, 24));
    assert_eq!(
        drawn[3],
        "> a                  - empty     -             -        …        -       0 -"
    );
}

#[test]
fn a_host_that_is_gone_is_said_over_its_last_look() {
    let mut model = model(reloaded());
    let long_ago = Instant::now()
        .checked_sub(Duration::from_secs(64))
        .expect("the machine is up for longer");
    model.learn(News::Lost("it\nhung up".to_owned()), long_ago);
    let lines = lines(&mut model, (80, 24));
    assert!(
        lines[1].starts_with("NO HOST for 1 min 4 s, looking for it: it"),
        "{}",
        lines[1]
    );
    found(&lines, "> momentum");
}

#[test]
fn host_that_does_not_answer_is_reported() {
    let mut model = model(reloaded());
    model.learn(News::Asks, Instant::now());
    assert_eq!(lines(&mut model, (80, 24))[1], "folder /srv/desk/plugins");
    let mut stopped = Model::new(String::new());
    stopped.learn(
        News::Asks,
        Instant::now()
            .checked_sub(Duration::from_secs(64))
            .expect("the machine is up for longer"),
    );
    found(&lines(&mut stopped, (80, 24)), "THE HOST DOES NOT ANSWER for 1 min 4 s");
    stopped.learn(News::Seen(Box::new(reloaded()), None), Instant::now());
    assert_eq!(lines(&mut stopped, (80, 24))[1], "folder /srv/desk/plugins");
}

#[test]
fn names_of_any_kind_stay_in_their_column() {
    let names = [
        "a".repeat(5000),
        "日本語のスロット名前が長い".to_owned(),
        "e\u{301}\u{302}".repeat(40),
        "\u{1b}[31mred\u{7}\n\u{202e}".to_owned(),
        String::new(),
    ];
    let mut slots: Vec<_> = names.iter().map(|name| full(name)).collect();
    for slot in &mut slots {
        slot.health = Some("überlastet 過負荷: ".repeat(50));
        slot.state = "a-state-of-the-future".to_owned();
        (slot.generation, slot.late_holders, slot.live_bytes) = (Some(u64::MAX), u64::MAX, Some(u64::MAX));
    }
    let mut overview = host(slots);
    (overview.program, overview.folder) = ("プログラム".repeat(50), Some("/dossier/été/".repeat(30).into()));
    (overview.uptime_ms, overview.mapped, overview.quarantined) = (u64::MAX, u64::MAX, u64::MAX);
    overview.reloads = names
        .iter()
        .map(|name| reload(name, Some(u64::MAX), name, &[(name, 1e300)]))
        .collect();
    let mut model = model(overview);
    for size in [(80, 24), (120, 40)] {
        let lines = lines(&mut model, size);
        let title = found(&lines, "calls/s");
        let column = |line: &str| text::width(line.split("a-state-").next().unwrap_or_default());
        let states: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("a-state-"))
            .map(|line| column(line))
            .collect();
        assert_eq!(states.len(), names.len());
        let expected = text::width(title.split("state").next().unwrap_or_default());
        assert!(
            states.iter().all(|at| *at == expected),
            "{states:?} {expected}\n{}",
            lines.join("\n")
        );
        assert!(
            lines
                .iter()
                .all(|line| text::width(line) <= usize::from(size.0) && !line.contains(['\u{1b}', '\u{202e}', '\n']))
        );
    }
    model.press(Key::Char('b'));
    assert!(found(&lines(&mut model, (80, 24)), "Roll aaa").ends_with("y/n"));
}

#[test]
fn everything_about_a_slot_can_be_reached() {
    let mut model = model(reloaded());
    model.press(Key::Enter);
    let held = HeldGeneration {
        generation: 11,
        condition: "is the standby".to_owned(),
        since_ms: 5000,
        live_bytes: Some(2048),
        holders: vec!["a view of thread 7".to_owned()],
    };
    let version = Version {
        hash: "fedcba9876543210".to_owned(),
        version: "1.4.1".to_owned(),
        schema: Some(3),
        file: "libmomentum.so".into(),
        condition: "known_bad".to_owned(),
        reason: Some("it panicked".to_owned()),
        since_ms: 0,
        bytes: 4096,
        serves: true,
    };
    let detail = Detail {
        slot: "momentum".to_owned(),
        history: Ok(vec![version]),
        held: Ok(vec![held]),
    };
    model.learn(News::Seen(Box::new(reloaded()), Some(Box::new(detail))), Instant::now());
    let all = [
        "slot momentum",
        "Strategy",
        "1.4.2",
        "0123456789abcdef0123456789abcdef",
        "/srv/desk/plugins/libmomentum.so",
        "staged         13",
        "standby        11",
        "healthy",
        "12.3 KiB (12600 bytes)",
        "2 mapped, 1 quarantined",
        "does not export a root",
        "from-the-…",
        "generation 11: is the standby for 5 s, 2.0 KiB",
        "a view of thread 7",
        "* fedcba987654 1.4.1 known_bad",
        "it panicked",
    ];
    let tall = lines(&mut model, (80, 60));
    all.iter().for_each(|what| drop(found(&tall, what).to_owned()));
    // On a small screen by scrolling, which ends at the last line.
    let mut seen = Vec::new();
    for _ in 0..100 {
        seen.extend(lines(&mut model, (76, 12)));
        model.press(Key::Down);
    }
    all.iter()
        .for_each(|what| drop(found(&seen, &what[..what.len().min(20)]).to_owned()));
    found(&lines(&mut model, (76, 12)), "it panicked");
    model.press(Key::Up);
    model.learn(News::Seen(Box::new(host(Vec::new())), None), Instant::now());
    found(&lines(&mut model, (80, 24)), "This slot does not exist any more.");
}

#[test]
fn a_long_message_has_more_lines_and_still_an_end() {
    let mut model = model(reloaded());
    let mut said = |text: String| {
        model.message = Some(Message { text, bad: true });
        lines(&mut model, (80, 24))
    };
    let two = said("it went wrong ".repeat(8));
    assert!(
        two[21].starts_with("! it went wrong") && two[22].starts_with("wrong it went"),
        "{}",
        two.join("\n")
    );
    let cut = said("it went\nwrong ".repeat(100));
    assert!(
        cut[20].starts_with("! it went") && cut[22].ends_with('…'),
        "{}",
        cut.join("\n")
    );
    assert!(cut[23].ends_with("q quit"));
}

#[test]
fn refused_details_are_reported() {
    let mut model = model(host(vec![bare("a")]));
    model.press(Key::Enter);
    let why = || "no history is kept".to_owned();
    let detail = Detail {
        slot: "a".to_owned(),
        history: Err(why()),
        held: Err("nobody is asked".to_owned()),
    };
    model.learn(
        News::Seen(Box::new(host(vec![bare("a")])), Some(Box::new(detail))),
        Instant::now(),
    );
    let lines = lines(&mut model, (80, 40));
    found(&lines, "no history is kept");
    found(&lines, "nobody is asked");
}

#[test]
fn every_size_can_be_drawn() {
    for width in (0..130).step_by(3) {
        for height in 0..40 {
            let mut model = model(reloaded());
            for key in [
                Key::Char('?'),
                Key::Escape,
                Key::Char('b'),
                Key::Escape,
                Key::Enter,
                Key::End,
                Key::Char('b'),
            ] {
                terminal(&mut model, COLOURED, (width, height));
                model.press(key);
            }
            terminal(&mut model, COLOURED, (width, height));
        }
    }
}
