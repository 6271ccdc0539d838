//! Each request and its answer.

use super::{Place, refused};
use crate::support::{wait_for, wait_for_refused};
use fixture_interfaces::Probe;
use reslot::{
    Event, LogLevel, Policy,
    control::protocol::{Answer, ErrorKind, Request},
};
use reslot_tests::Fixture;
use std::{path::Path, thread, time::Duration};

fn probe(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-probe").stamped(stamp)
}

fn reload(target: impl AsRef<Path>) -> Request {
    let target = target.as_ref().to_str().unwrap().to_owned();
    Request::Reload { target }
}

/// A probation that ends only by `confirm`.
fn on_probation() -> Policy {
    Policy::development().probation(Duration::from_secs(3600))
}

#[test]
fn overview_shows_the_current_generation_and_its_reload() {
    let place = Place::new();
    assert_eq!(place.overview().slots, []);
    let mut events = place.host.events();
    let path = place.folder.publish("probe.so", &probe(1));
    wait_for(&mut events, |event| matches!(event, Event::Swapped(_)).then_some(()));
    let overview = place.overview();
    assert_eq!(overview.process, std::process::id());
    assert_eq!(overview.folder.as_deref(), Some(place.folder.path()));
    assert_eq!((overview.mapped, overview.quarantined), (1, 0));
    let [slot] = &overview.slots[..] else {
        panic!("{overview:#?}")
    };
    assert_eq!(
        (slot.name.as_str(), slot.generation, slot.state.as_str()),
        ("probe", Some(1), "serving")
    );
    assert_eq!(slot.path.as_deref(), Some(&*path));
    assert!(
        slot.interface.is_some() && slot.version.is_some() && slot.hash.is_some(),
        "{slot:#?}"
    );
    let [reload] = &overview.reloads[..] else {
        panic!("{overview:#?}")
    };
    assert_eq!((reload.outcome.as_str(), reload.generation), ("swapped", Some(1)));
    assert!(
        reload.total_us > 0.0 && reload.steps.iter().any(|step| step.step == "lint"),
        "{reload:#?}"
    );

    // A refusal is recorded with the slot of that file until the next swap.
    place.folder.publish("probe.so", b"no library");
    wait_for_refused(&mut events);
    let overview = place.overview();
    assert_eq!(overview.reloads[0].outcome, "refused");
    assert!(
        overview.slots[0]
            .last_refusal
            .as_ref()
            .is_some_and(|why| why.contains("lint") || why.contains("read"))
    );
    place.folder.publish("probe.so", &probe(2));
    wait_for(&mut events, |event| {
        matches!(event, Event::Swapped(report) if report.generation == 2).then_some(())
    });
    let overview = place.overview();
    assert_eq!(
        (overview.slots[0].generation, &overview.slots[0].last_refusal),
        (Some(2), &None)
    );
    let outcomes: Vec<_> = overview.reloads.iter().map(|reload| reload.outcome.as_str()).collect();
    assert_eq!(outcomes, ["swapped", "refused", "swapped"]);

    place
        .host
        .slot::<dyn Probe>("probe")
        .unwrap()
        .load()
        .fail("on purpose")
        .unwrap_err();
    assert_eq!(place.overview().slots[0].faults, 1);
}

#[test]
fn reload_loads_a_file_or_says_why_not() {
    let place = Place::new();
    let elsewhere = reslot_tests::Folder::new();
    let path = elsewhere.publish("elsewhere.so", &probe(1));
    let (message, generation) = place.done(reload(&path));
    assert!(message.contains("probe"), "{message}");
    assert_eq!(generation, Some(1));
    let (message, generation) = place.done(reload("probe"));
    assert!(message.contains("nothing was loaded"), "{message}");
    assert_eq!(generation, Some(1));
    // A reload by the slot's name loads the slot's file, also from a folder that is not watched.
    elsewhere.publish("elsewhere.so", &probe(2));
    assert_eq!(place.done(reload("probe")).1, Some(2));

    let (kind, message) = refused(place.ask(reload(elsewhere.publish("bad.so", b"no library"))));
    assert_eq!(kind, ErrorKind::NotDone);
    assert!(message.contains("what to do"), "{message}");
    let (kind, message) = refused(place.ask(reload("nobody")));
    assert_eq!(kind, ErrorKind::UnknownSlot);
    assert!(message.contains("nobody") && message.contains("probe"), "{message}");
    let (kind, message) = refused(place.ask(reload("./probe.so")));
    assert_eq!(kind, ErrorKind::NotDone);
    assert!(message.contains("absolute"), "{message}");
    assert_eq!(place.overview().slots[0].generation, Some(2));
}

#[test]
fn rollback_confirm_and_history_do_what_the_host_does() {
    let place = Place::with(on_probation());
    let path = place.folder.publish("probe.so", &probe(1));
    place.done(reload(&path));
    let slot = || "probe".to_owned();
    place.done(Request::Confirm { slot: slot() });
    let (message, _) = place.done(Request::Confirm { slot: slot() });
    assert!(message.contains("nothing was on probation"), "{message}");
    let path = place.folder.publish("probe.so", &probe(2));
    place.done(reload(&path));
    assert_eq!(place.overview().slots[0].state, "probation");
    let (_, generation) = place.done(Request::Rollback { slot: slot(), to: None });
    assert_eq!(generation, Some(1));
    assert_eq!(place.overview().reloads[0].outcome, "rolled-back");
    let Ok(Answer::History { versions }) = place.ask(Request::History { slot: slot() }) else {
        panic!()
    };
    let conditions: Vec<_> = versions
        .iter()
        .map(|version| (version.condition.as_str(), version.serves))
        .collect();
    assert_eq!(conditions, [("known_bad", false), ("confirmed", true)], "{versions:#?}");

    let to = Some("ffff".to_owned());
    let (kind, message) = refused(place.ask(Request::Rollback { slot: slot(), to }));
    assert_eq!(kind, ErrorKind::NotDone);
    assert!(message.contains(&versions[1].hash), "{message}");
    let to = Some("fffg".to_owned());
    let (kind, message) = refused(place.ask(Request::Rollback { slot: slot(), to }));
    assert_eq!(kind, ErrorKind::NotDone);
    assert_eq!(message, "\"fffg\" is not a hash: 'g' is not a hexadecimal digit");
    let serves = place.host.slots()[0].hash;
    assert_eq!(serves.map(|hash| hash.to_string()), Some(versions[1].hash.clone()));
    for request in [
        Request::Rollback {
            slot: "nobody".into(),
            to: None,
        },
        Request::Confirm { slot: "nobody".into() },
        Request::History { slot: "nobody".into() },
        Request::WhoHolds { slot: "nobody".into() },
        Request::WhyNot { target: "nobody".into() },
        Request::LogLevel {
            slot: "nobody".into(),
            level: None,
        },
    ] {
        assert_eq!(refused(place.ask(request)).0, ErrorKind::UnknownSlot);
    }
}

#[test]
fn who_holds_names_the_reader_that_keeps_a_generation() {
    let place = Place::new();
    place.done(reload(place.folder.publish("probe.so", &probe(1))));
    let mut reader = place.host.reader();
    reader.view();
    place.done(reload(place.folder.publish("probe.so", &probe(2))));
    let request = Request::WhoHolds { slot: "probe".into() };
    let Ok(Answer::Holders { generations }) = place.ask(request) else {
        panic!()
    };
    let [old, new] = &generations[..] else {
        panic!("{generations:#?}")
    };
    assert_eq!((old.generation, new.generation, new.condition.as_str()), (1, 2, "serves"));
    assert!(old.holders[0].contains("answers.rs"), "{generations:#?}");
    assert_eq!(place.overview().slots[0].late_holders, 1);
}

#[test]
fn events_are_printed_up_to_now_or_until_the_host_ends() {
    let place = Place::new();
    place.done(reload(place.folder.publish("probe.so", &probe(1))));
    let told = place.client().events(0).unwrap();
    let numbers: Vec<_> = told.iter().map(|told| told.sequence).collect();
    assert_eq!(numbers, (0..told.len() as u64).collect::<Vec<_>>());
    let swapped = told.iter().find(|told| told.event == "swapped").unwrap();
    assert_eq!((swapped.slot.as_deref(), swapped.generation), (Some("probe"), Some(1)));
    let later = place.client().events(swapped.sequence + 1).unwrap();
    assert!(later.iter().all(|told| told.sequence > swapped.sequence));

    let following = place.client().follow(Some(0)).unwrap();
    let follower = thread::spawn(move || following.map(|told| told.unwrap().event).collect::<Vec<_>>());
    place.done(reload(place.folder.publish("probe.so", &probe(2))));
    drop(place.host);
    let heard = follower.join().unwrap();
    assert_eq!(heard.iter().filter(|event| *event == "swapped").count(), 2);
    assert!(heard.contains(&"shut-down".to_owned()), "{heard:?}");
    assert_eq!(heard.iter().filter(|event| *event == "retired").count(), 2, "{heard:?}");
}

#[test]
fn log_level_is_the_slots_own() {
    let place = Place::new();
    place.done(reload(place.folder.publish("probe.so", &probe(1))));
    let level = |level: &str| {
        let (slot, level) = ("probe".to_owned(), Some(level.to_owned()));
        place.ask(Request::LogLevel { slot, level })
    };
    assert!(
        place
            .done(Request::LogLevel {
                slot: "probe".to_owned(),
                level: Some("debug".to_owned())
            })
            .0
            .contains("probe")
    );
    assert_eq!(place.host.slots()[0].log_level, Some(LogLevel::Debug));
    let (kind, message) = refused(level("loud"));
    assert_eq!(kind, ErrorKind::NotDone);
    assert!(message.contains("loud") && message.contains("trace"), "{message}");
}
