//! Refusals: which side refuses, how long the refusal holds, and what is used instead.

use crate::{
    Desk, assert_gone, settings,
    support::{Gate, wait_for, wait_for_refused, wait_for_swapped, wait_until},
    threshold, wait_for_config_applied, wait_for_config_refused, wait_for_threshold,
};
use fixture_interfaces::Tuned;
use reslot::{
    Claim, Event, Events, Hook, Host, SyncOutcome,
    testing::{How, Injection, Injections},
};
use reslot_tests::Folder;
use std::{fs, io::Write};

fn resource(host: &Host) -> String {
    host.slot::<dyn Tuned>("tuned").unwrap().load().resource().unwrap()
}

fn stamp(host: &Host) -> u64 {
    host.slot::<dyn Tuned>("tuned").unwrap().load().stamp().unwrap()
}

fn wait_for_words(events: &mut Events, wanted: &str) {
    let (_, slot, words) = wait_for_config_refused(events);
    assert!(slot.as_deref() == Some("tuned") && words.contains(wanted), "{words}");
}

#[test]
fn artifact_that_is_refused_again_brings_no_older_one_back() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    desk.resource("levels/one.txt", "broken");
    wait_for_words(&mut events, "broken");
    desk.resource("levels/one.txt", "hard");
    wait_for_config_applied(&mut events, "tuned");
    desk.resource("levels/one.txt", "broken");
    wait_for_words(&mut events, "broken");
    assert_eq!(resource(&host), "hard");
    assert_gone(&host);
}

#[test]
fn new_build_gets_the_settings_that_the_old_one_refused() {
    let desk = Desk::new("");
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    desk.resource("levels/one.txt", "from 2");
    wait_for_words(&mut events, "newer builds");
    assert_eq!(resource(&host), "easy");
    desk.publish("tuned", 2);
    wait_until(|| stamp(&host) == 2, "the new build");
    assert_eq!(resource(&host), "from 2");
    assert_gone(&host);
}

#[test]
fn new_build_gets_settings_that_the_old_one_refuses_after_it_was_replaced() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let gate = Gate::new("asked");
    desk.set("[plugins.tuned]\nthreshold = 0.25\nmood = \"wait-from-2\"\n");
    gate.wait_until_reached();
    // The old build is being asked when the new one comes to serve, with the settings from before.
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    assert_eq!(threshold(&host, "tuned"), 0.5);
    gate.open();
    wait_for_words(&mut events, "newer builds");
    wait_for_threshold(&host, "tuned", 0.25);
    assert_eq!(stamp(&host), 2);
    assert_gone(&host);
}

#[test]
fn new_build_that_refuses_them_too_gets_the_last_good_settings_also_with_an_owner() {
    let desk = Desk::new(&settings(0.5));
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Tuned>("tuned").unwrap();
    desk.resource("levels/one.txt", "broken");
    wait_for(&mut events, |event| {
        matches!(event, Event::Staged { generation: 2, .. }).then_some(())
    });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    desk.publish("tuned", 2);
    let mut refused = 0;
    wait_until(
        || {
            refused += u32::from(matches!(Claim::sync(&mut claim), SyncOutcome::Refused { .. }));
            claim.stamp().unwrap() == 2
        },
        "the new build",
    );
    assert_eq!((refused, claim.resource().unwrap()), (1, "easy".to_owned()));
}

#[test]
fn failure_that_passes_loses_no_change() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let injections = Injections::default();
    let host = desk.builder().inject(&injections).build().unwrap();
    let mut events = host.events();
    injections.arm(Injection {
        hook: Hook::Start,
        how: How::Fail,
        times: 2,
    });
    desk.set(&settings(0.25));
    wait_for_config_refused(&mut events);
    assert_eq!(threshold(&host, "tuned"), 0.5);
    wait_for_threshold(&host, "tuned", 0.25);
    assert_gone(&host);
}

#[test]
fn artifact_that_was_refused_does_not_replace_a_newer_one() {
    let desk = Desk::new("[plugins.tuned]\nthreshold = 0.25\nmood = \"late-not-2\"\n");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    desk.artifacts.publish("other.so", &crate::stamped("tuned", 2));
    let refusal = wait_for_refused(&mut events).to_string();
    assert!(refusal.contains("second build"), "{refusal}");
    desk.artifacts.publish("third.so", &crate::stamped("tuned", 3));
    wait_until(|| stamp(&host) == 3, "the third build");
    desk.set(&settings(0.75));
    wait_for_threshold(&host, "tuned", 0.75);
    // When the second of these loads returns, the host has finished each retry that the new settings caused.
    for _ in 0..2 {
        host.load(desk.artifacts.path().join("none.so")).unwrap_err();
    }
    assert_eq!(stamp(&host), 3);
}

#[test]
fn change_is_not_lost_when_a_set_is_refused() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    desk.publish("tuned-open", 1);
    let injections = Injections::default();
    let host = desk.builder().inject(&injections).build().unwrap();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Tuned>("tuned").unwrap();
    let elsewhere = Folder::new();
    let set = ["tuned", "tuned-open"].map(|name| elsewhere.publish(&format!("{name}.so"), &crate::stamped(name, 2)));
    host.load_together(set).unwrap();
    desk.set(&settings(0.25));
    wait_for(&mut events, |event| matches!(event, Event::Configured { .. }).then_some(()));
    injections.arm(Injection {
        hook: Hook::Start,
        how: How::Fail,
        times: 1,
    });
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    wait_until(
        || {
            let _ = Claim::sync(&mut claim);
            claim.threshold().unwrap() == 0.25
        },
        "the configuration",
    );
    assert_eq!(claim.stamp().unwrap(), 1);
}

#[test]
fn files_that_are_held_open_are_reported_once() {
    let desk = Desk::new(&settings(0.5));
    desk.resource("levels/one.txt", "easy");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let resource_file = desk.settings.path().join("files/levels/one.txt");
    for (file, text) in [(desk.file(), settings(0.25)), (resource_file, "hard".to_owned())] {
        let mut held = fs::OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
        held.write_all(text.as_bytes()).unwrap();
        // The watch sees a change while the file is still open for writing.
        let other = file.with_extension("held");
        fs::rename(&file, &other).unwrap();
        fs::rename(&other, &file).unwrap();
        let path = wait_for(&mut events, |event| match event {
            Event::Waiting { path, .. } => Some(path.clone()),
            _ => None,
        });
        assert_eq!(path, file);
        drop(held);
        wait_for_config_applied(&mut events, "tuned");
    }
    assert_eq!((threshold(&host, "tuned"), resource(&host)), (0.25, "hard".to_owned()));
}

#[test]
fn settings_that_the_old_build_refused_are_looked_at_again_for_the_new_one() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    desk.set("[plugins.tuned]\nthreshold = 0.25\nmood = \"from-2\"\n");
    wait_for_words(&mut events, "newer builds");
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    wait_for_threshold(&host, "tuned", 0.25);
    assert_eq!(stamp(&host), 2);
}
