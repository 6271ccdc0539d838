//! The model, with news and keys by hand.

use super::*;
use crate::top::samples::{bare, full, host};
use reslot_control::protocol::{ErrorKind, Refused};

fn model(slots: Vec<SlotStatus>) -> Model {
    let mut model = Model::new("desk.sock".to_owned());
    see(&mut model, host(slots));
    model
}

fn see(model: &mut Model, overview: Overview) {
    model.learn(News::Seen(Box::new(overview), None), Instant::now());
}

fn counting(calls: Option<u64>, faults: u64, uptime_ms: u64) -> Overview {
    Overview {
        uptime_ms,
        ..host(vec![SlotStatus {
            calls,
            faults,
            ..full("a")
        }])
    }
}

fn text(model: &Model) -> &str {
    model.message.as_ref().map_or("", |message| &message.text)
}

#[test]
fn rates_are_differences_of_counters_by_the_hosts_clock() {
    let mut model = Model::new(String::new());
    see(&mut model, counting(Some(100), 1, 1000));
    assert_eq!(model.rates("a"), (Rate::Unknown, Rate::Unknown));
    see(&mut model, counting(Some(400), 2, 1500));
    assert_eq!(model.rates("a"), (Rate::Of(600.0), Rate::Of(2.0)));
    // The same moment again: what was known stays known.
    see(&mut model, counting(Some(400), 2, 1500));
    assert_eq!(model.rates("a"), (Rate::Of(600.0), Rate::Of(2.0)));
    see(&mut model, counting(None, 2, 2500));
    assert_eq!(model.rates("a"), (Rate::NotCounted, Rate::Of(0.0)));
    see(&mut model, counting(Some(0), 0, 3500));
    assert_eq!(model.rates("a"), (Rate::Unknown, Rate::Unknown), "counters that began again");
    assert_eq!(model.rates("nobody"), (Rate::Unknown, Rate::Unknown));
}

#[test]
fn another_host_is_not_compared_with_the_one_before() {
    let mut model = Model::new(String::new());
    see(&mut model, counting(Some(100), 1, 9000));
    see(&mut model, counting(Some(200), 2, 500));
    assert_eq!(model.rates("a"), (Rate::Unknown, Rate::Unknown));
    assert_eq!(text(&model), "This is another host than before.");
    // The same program built another host, which was first seen later in its life.
    see(
        &mut model,
        Overview {
            host_id: "another".to_owned(),
            ..counting(Some(900), 2, 700)
        },
    );
    assert_eq!(model.rates("a"), (Rate::Unknown, Rate::Unknown));
    see(
        &mut model,
        Overview {
            process: 1,
            ..counting(Some(300), 2, 900)
        },
    );
    assert_eq!(model.rates("a"), (Rate::Unknown, Rate::Unknown));
}

#[test]
fn a_selection_stays_with_its_slot() {
    let mut model = model(vec![bare("a"), bare("b"), bare("c")]);
    model.press(Key::Down);
    assert_eq!(model.target(), Some("b"));
    see(&mut model, host(vec![bare("new"), bare("a"), bare("b"), bare("c")]));
    assert_eq!((model.selected(), model.target()), (2, Some("b")));
    see(&mut model, host(vec![bare("a"), bare("c")]));
    assert_eq!(
        (model.selected(), model.target()),
        (1, Some("c")),
        "what stands last, as there is no third"
    );
    see(&mut model, host(Vec::new()));
    assert_eq!(model.target(), None);
    see(&mut model, host(vec![bare("z")]));
    assert_eq!(model.target(), Some("z"));
}

#[test]
fn walking_ends_at_both_ends() {
    let mut model = model((0..25).map(|n| bare(&format!("slot-{n}"))).collect());
    let mut at = |key| {
        model.press(key);
        model.selected()
    };
    assert_eq!([at(Key::Up), at(Key::Char('k')), at(Key::PageUp)], [0, 0, 0]);
    assert_eq!([at(Key::Char('j')), at(Key::Down), at(Key::PageDown)], [1, 2, 12]);
    assert_eq!(
        [at(Key::End), at(Key::Down), at(Key::PageDown), at(Key::Char('G'))],
        [24, 24, 24, 24]
    );
    assert_eq!(
        [at(Key::PageUp), at(Key::Home), at(Key::Char('G')), at(Key::Char('g'))],
        [14, 0, 24, 0]
    );
}

#[test]
fn keys_send_the_requests_that_they_name() {
    let mut model = model(vec![bare("a"), bare("b")]);
    model.press(Key::Down);
    let slot = || "b".to_owned();
    assert_eq!(
        model.press(Key::Char('r')),
        Some(Deed::Ask(Request::Reload { target: slot() }))
    );
    assert_eq!(text(&model), "Reloading b …");
    assert_eq!(
        model.press(Key::Char('c')),
        Some(Deed::Ask(Request::Confirm { slot: slot() }))
    );
    assert_eq!(model.press(Key::Char('q')), Some(Deed::Quit));
    assert_eq!(model.press(Key::Interrupt), Some(Deed::Quit));
    assert_eq!(model.press(Key::Enter), Some(Deed::Inspect(Some(slot()))));
    assert_eq!(
        model.press(Key::Char('r')),
        Some(Deed::Ask(Request::Reload { target: slot() }))
    );
    assert_eq!(model.press(Key::Escape), Some(Deed::Inspect(None)));
    assert_eq!(model.page, Page::Slots);
    assert_eq!(model.press(Key::Escape), None);
    assert_eq!(model.press(Key::Char('?')), None);
    assert_eq!(model.page, Page::Help);
    assert_eq!(model.press(Key::Char('x')), None);
    assert_eq!(model.page, Page::Slots);
}

#[test]
fn going_back_is_asked_about() {
    let mut model = model(vec![bare("a"), bare("b")]);
    for no in [
        Key::Char('n'),
        Key::Escape,
        Key::Enter,
        Key::Char('b'),
        Key::Char('q'),
        Key::Char('Y'),
    ] {
        assert_eq!(model.press(Key::Char('b')), None);
        assert_eq!(model.press(no), None, "{no:?}");
        assert_eq!(text(&model), "Nothing was rolled back.");
    }
    model.press(Key::Char('b'));
    // What the question was about stays the same, whatever is selected by then.
    see(&mut model, host(vec![bare("b")]));
    let asked = Deed::Ask(Request::Rollback {
        slot: "a".to_owned(),
        to: None,
    });
    assert_eq!(model.press(Key::Char('y')), Some(asked));
    assert_eq!(model.press(Key::Char('y')), None, "once");
    model.press(Key::Enter);
    model.press(Key::Char('b'));
    model.press(Key::Char('y'));
    assert!(
        matches!(model.page, Page::Inspect { .. }),
        "back to where the question was asked"
    );
    model.press(Key::Char('b'));
    assert_eq!(model.press(Key::Interrupt), Some(Deed::Quit));
}

#[test]
fn without_a_slot_keys_say_so() {
    for mut model in [Model::new(String::new()), model(Vec::new())] {
        for key in ['r', 'b', 'c'].map(Key::Char).into_iter().chain([Key::Enter]) {
            model.message = None;
            assert_eq!(model.press(key), None);
            assert!(text(&model).contains("no slot"), "{key:?}");
        }
        for key in [Key::Down, Key::Up, Key::End, Key::Escape] {
            assert_eq!(model.press(key), None);
        }
        assert_eq!(model.page, Page::Slots);
    }
}

#[test]
fn answers_are_shown() {
    let mut model = model(vec![bare("a")]);
    let request = Request::Reload { target: "a".to_owned() };
    let mut shown = |answer| {
        model.learn(News::Did(request.clone(), answer), Instant::now());
        model.message.clone().map(|message| (message.text, message.bad))
    };
    let done = Answer::Done {
        message: "a: generation 2 serves".to_owned(),
        generation: Some(2),
    };
    assert_eq!(shown(Ok(done)), Some(("a: generation 2 serves".to_owned(), false)));
    let refused = Refused {
        kind: ErrorKind::UnknownSlot,
        message: "there is no slot \"a\"".to_owned(),
    };
    assert_eq!(
        shown(Err(Failure::Refused(refused))),
        Some(("there is no slot \"a\"".to_owned(), true))
    );
    let (text, bad) = shown(Err(Failure::Gone("broken pipe".to_owned()))).expect("a message");
    assert!(bad && text.contains("broken pipe") && text.contains("Reloading a"), "{text}");
    assert!(shown(Ok(Answer::History { versions: Vec::new() })).is_some_and(|(_, bad)| bad));
}

#[test]
fn a_host_that_is_gone_keeps_its_last_look_until_it_is_back() {
    let mut model = model(vec![bare("a")]);
    let (first, later) = (Instant::now(), Instant::now() + Duration::from_secs(9));
    model.learn(News::Lost("it hung up".to_owned()), first);
    model.learn(News::Lost("there is no socket".to_owned()), later);
    assert_eq!(
        model.link,
        Link::Gone(first, "there is no socket".to_owned()),
        "since the first time"
    );
    assert_eq!(model.slots().len(), 1);
    see(&mut model, host(vec![bare("a")]));
    assert_eq!((&model.link, text(&model)), (&Link::There, "The host answers again."));
}

#[test]
fn details_are_kept_only_of_the_slot_that_is_inspected() {
    let detail = |slot: &str| {
        Some(Box::new(Detail {
            slot: slot.to_owned(),
            history: Ok(Vec::new()),
            held: Ok(Vec::new()),
        }))
    };
    let mut model = model(vec![bare("a"), bare("b")]);
    model.press(Key::Enter);
    let slots = || Box::new(host(vec![bare("a"), bare("b")]));
    model.learn(News::Seen(slots(), detail("b")), Instant::now());
    assert!(matches!(model.page, Page::Inspect { detail: None, .. }));
    model.learn(News::Seen(slots(), detail("a")), Instant::now());
    model.learn(News::Seen(slots(), None), Instant::now());
    assert!(
        matches!(model.page, Page::Inspect { detail: Some(_), .. }),
        "what is known stays known"
    );
    model.press(Key::End);
    model.scroll_ends_at(7);
    model.press(Key::Up);
    assert!(matches!(model.page, Page::Inspect { scroll: 6, .. }));
}
