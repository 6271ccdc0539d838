//! The configuration that plugins get: when they are loaded, when the settings change, and after a refusal.

use crate::{
    Desk, assert_gone,
    image::{Image, Place},
    settings, stamped,
    support::{Gate, wait_for, wait_for_refused, wait_for_staged, wait_for_swapped, wait_until},
    threshold, wait_for_config_applied, wait_for_config_refused, wait_for_threshold,
};
use fixture_interfaces::Tuned;
use reslot::{
    Claim, DeletedFile, Event, Host, Policy, RollbackTarget, SyncOutcome,
    config::{Configuration, HostSettings, Layers, LiveConfiguration},
};
use std::time::Duration;

/// The host's current value of the table `host`.
fn settings_of(host: &Host) -> HostSettings {
    host.surface::<LiveConfiguration>().unwrap().settings()
}

#[test]
fn plugin_has_its_table_before_init_and_the_next_one_with_its_state() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let slot = host.slot::<dyn Tuned>("tuned").unwrap();
    assert_eq!(slot.load().told().unwrap(), "config init");
    assert_eq!(slot.load().add(7).unwrap(), 7);
    desk.set(&settings(0.25));
    assert_eq!(wait_for_config_applied(&mut events, "tuned"), 2);
    assert_eq!(threshold(&host, "tuned"), 0.25);
    assert_eq!(slot.load().add(1).unwrap(), 8, "its state has come with it");
    // Settings without a change cause no event.
    desk.set(&format!("{}# by the way\n", settings(0.25)));
    desk.set(&settings(0.75));
    assert_eq!(wait_for_config_applied(&mut events, "tuned"), 3);
    assert_gone(&host);
}

#[test]
fn plugin_without_a_table_is_given_the_empty_one_and_without_settings_none() {
    let desk = Desk::new("");
    desk.publish("tuned", 1);
    let told = |host: &Host| host.slot::<dyn Tuned>("tuned").unwrap().load().told().unwrap();
    assert_eq!(told(&desk.host()), "nothing init");
    let without = Host::builder().watch(desk.artifacts.path()).build().unwrap();
    assert_eq!(told(&without), "init");
    assert!(without.surface::<LiveConfiguration>().is_none());
}

#[test]
fn claimed_plugin_has_it_from_its_owners_sync_on() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Tuned>("tuned").unwrap();
    claim.add(3).unwrap();
    desk.set(&settings(0.25));
    wait_for_staged(&mut events, "tuned", 2);
    assert_eq!(claim.threshold().unwrap(), 0.5, "not before");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!((claim.threshold().unwrap(), claim.add(1).unwrap()), (0.25, 4));
}

#[test]
fn environment_wins_over_the_file() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let layers = Layers::new()
        .file(desk.file())
        .variables("RESLOT", [("RESLOT__PLUGINS__TUNED__THRESHOLD", "0.1")]);
    let host = Host::builder()
        .watch(desk.artifacts.path())
        .attach(Configuration::of(layers))
        .build()
        .unwrap();
    assert_eq!(threshold(&host, "tuned"), 0.1);
}

#[test]
fn artifact_that_refuses_its_configuration_is_not_taken_until_that_is_another() {
    let desk = Desk::new("[plugins.tuned]\nthreshold = \"high\"\n");
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let words = wait_for_refused(&mut events).to_string();
    assert!(
        words.contains("configuration") && words.contains("`threshold`") && words.contains("high"),
        "{words}"
    );
    assert!(host.slot::<dyn Tuned>("tuned").is_err());
    desk.set(&settings(0.5));
    wait_for_swapped(&mut events, "tuned", 2);
    assert_eq!(threshold(&host, "tuned"), 0.5);
    assert_gone(&host);
}

#[test]
fn refused_change_leaves_all_slots_with_the_last_good_settings() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    desk.publish("tuned-open", 1);
    let host = desk.host();
    let mut events = host.events();
    // One of the two plugins refuses: neither gets the new settings.
    for mood in ["veto", "panic"] {
        desk.set(&format!(
            "[plugins.tuned-open]\nthreshold = 0.3\n[plugins.tuned]\nthreshold = 0.3\nmood = \"{mood}\"\n"
        ));
        let (file, slot, words) = wait_for_config_refused(&mut events);
        assert_eq!((file, slot.as_deref()), (Some(desk.file()), Some("tuned")));
        assert!(words.contains("mood"), "{words}");
        assert_eq!((threshold(&host, "tuned"), threshold(&host, "tuned-open")), (0.5, 0.0));
    }
    desk.set("[plugins.tuned-open]\nthreshold = 0.3\n[plugins.tuned]\nthreshold = 0.4\n");
    wait_for_threshold(&host, "tuned", 0.4);
    wait_for_threshold(&host, "tuned-open", 0.3);
    assert_gone(&host);
}

#[test]
fn refusal_that_comes_late_is_the_slots_own() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    desk.publish("tuned-open", 1);
    let host = desk.host();
    let mut events = host.events();
    for mood in ["late-veto", "late-panic"] {
        desk.set(&format!("[plugins.tuned]\nthreshold = 0.3\nmood = \"{mood}\"\n"));
        let (_, slot, words) = wait_for_config_refused(&mut events);
        assert!(slot.as_deref() == Some("tuned") && words.contains("mood"), "{words}");
        assert_eq!(threshold(&host, "tuned"), 0.5);
    }
    // A new artifact gets the last good settings.
    desk.publish("tuned", 2);
    wait_until(
        || host.slot::<dyn Tuned>("tuned").unwrap().load().stamp().unwrap() == 2,
        "the new artifact",
    );
    assert_eq!(threshold(&host, "tuned"), 0.5);
    assert_gone(&host);
}

#[test]
fn configuration_that_hangs_costs_its_deadline() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let policy = Policy::without_probation().hook_deadline(Duration::from_secs(1));
    let host = desk.builder().policy(policy).build().unwrap();
    let mut events = host.events();
    for mood in ["hang", "late-hang"] {
        let gate = Gate::new("tuned");
        desk.set(&format!("[plugins.tuned]\nthreshold = 0.3\nmood = \"{mood}\"\n"));
        let (_, _, words) = wait_for_config_refused(&mut events);
        assert!(words.contains("did not return"), "{words}");
        assert_eq!(threshold(&host, "tuned"), 0.5);
        gate.open();
    }
    desk.set(&settings(0.25));
    wait_for_threshold(&host, "tuned", 0.25);
    assert_gone(&host);
}

#[test]
fn candidate_that_was_staged_before_has_the_configuration_of_now() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let host = desk.host();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Tuned>("tuned").unwrap();
    desk.publish("tuned", 2);
    wait_for_staged(&mut events, "tuned", 2);
    desk.set(&settings(0.25));
    wait_for(&mut events, |event| matches!(event, Event::Configured { .. }).then_some(()));
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!((claim.stamp().unwrap(), claim.threshold().unwrap()), (2, 0.25));
}

#[test]
fn stateless_candidate_that_was_staged_before_gets_there() {
    let desk = Desk::new("[plugins.tuned-open]\nthreshold = 0.5\n");
    desk.publish("tuned-open", 1);
    let host = desk.host();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Tuned>("tuned-open").unwrap();
    desk.publish("tuned-open", 2);
    wait_for_staged(&mut events, "tuned-open", 2);
    desk.set("[plugins.tuned-open]\nthreshold = 0.25\n");
    wait_until(
        || {
            let _ = Claim::sync(&mut claim);
            claim.threshold().unwrap() == 0.25
        },
        "the configuration",
    );
    assert_eq!(claim.stamp().unwrap(), 2);
}

#[test]
fn standby_has_the_current_configuration_after_a_rollback() {
    let desk = Desk::new(&settings(0.5));
    desk.publish("tuned", 1);
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let host = desk.builder().policy(policy).build().unwrap();
    let mut events = host.events();
    host.slot::<dyn Tuned>("tuned").unwrap().load().add(5).unwrap();
    desk.publish("tuned", 2);
    wait_for_swapped(&mut events, "tuned", 2);
    desk.set(&settings(0.25));
    assert_eq!(wait_for_config_applied(&mut events, "tuned"), 3);
    host.rollback("tuned", RollbackTarget::Previous).unwrap();
    wait_for_threshold(&host, "tuned", 0.25);
    let slot = host.slot::<dyn Tuned>("tuned").unwrap();
    assert_eq!((slot.load().stamp().unwrap(), slot.load().add(0).unwrap()), (1, 5));
}

#[test]
fn many_changes_come_to_the_last_and_two_hosts_share_a_file() {
    let desk = Desk::new(&settings(0.0));
    desk.publish("tuned", 1);
    let (one, other) = (desk.host(), desk.host());
    for n in 1..=100 {
        desk.set(&settings(f64::from(n)));
    }
    for host in [&one, &other] {
        wait_for_threshold(host, "tuned", 100.0);
        assert_gone(host);
    }
}

#[test]
fn hosts_own_table_is_applied_now_or_reported_as_needing_a_restart() {
    let desk = Desk::new("[host]\nquarantine_cap = 3\ndrain_deadline_ms = 1000\nlog_level = \"info\"\n");
    let host = desk.host();
    let mut events = host.events();
    assert_eq!(settings_of(&host).quarantine_cap, Some(3));
    desk.set("[host]\nquarantine_cap = 4\ndrain_deadline_ms = 2000\nlog_level = \"debug\"\n");
    let later = wait_for(&mut events, |event| match event {
        Event::Configured { requires_restart, .. } => Some(requires_restart.clone()),
        _ => None,
    });
    assert_eq!(later, ["host.drain_deadline_ms"]);
    assert_eq!(settings_of(&host).log_level, Some(reslot::LogLevel::Debug));
}

#[test]
fn slots_of_one_artifact_have_each_their_own_table_and_refuse_each_for_themselves() {
    let of = |one: &str, two: &str| {
        format!(
            "[host]\non_deleted_file = \"unload\"\n[host.instances]\ntuned = [\"one\", \"two\"]\n[plugins.one]\nthreshold = {one}\n\
             [plugins.two]\nthreshold = {two}\n"
        )
    };
    let desk = Desk::new(&of("0.5", "0.25"));
    desk.publish("tuned", 1);
    let host = desk.host();
    assert_eq!((threshold(&host, "one"), threshold(&host, "two")), (0.5, 0.25));
    let mut events = host.events();
    desk.set(&of("0.5", "0.75"));
    assert_eq!(wait_for_config_applied(&mut events, "two"), 2);
    assert_eq!((threshold(&host, "one"), threshold(&host, "two")), (0.5, 0.75));
    let generations = || host.slots().into_iter().map(|slot| slot.generation).collect::<Vec<_>>();
    assert_eq!(generations(), [Some(1), Some(2)], "the other one was left alone");
    // The second build refuses one instance's settings.
    desk.set(&of("0.5", "0.75\nmood = \"not-2\""));
    assert_eq!(wait_for_config_applied(&mut events, "two"), 3);
    desk.publish("tuned", 2);
    let refusal = wait_for_refused(&mut events);
    assert_eq!(
        (refusal.slot.as_deref(), refusal.serving),
        (Some("two"), Some(3)),
        "{refusal}"
    );
    let stamp = |slot: &str| host.slot::<dyn Tuned>(slot).unwrap().load().stamp().unwrap();
    assert_eq!((stamp("one"), stamp("two")), (2, 1));
    // When those settings change, the host tries the build again for that instance only.
    desk.set(&of("0.5", "0.75"));
    wait_until(|| stamp("two") == 2, "the build that was refused");
    let settings = settings_of(&host);
    assert_eq!(settings.on_deleted_file, Some(DeletedFile::Unload));
    assert_eq!(settings.instances["tuned"], ["one", "two"]);
    // The host's own settings are in effect.
    std::fs::remove_file(desk.artifacts.path().join("libtuned.so")).unwrap();
    for slot in ["one", "two"] {
        wait_for(&mut events, |event| match event {
            Event::Unloaded { slot: of, .. } => (&**of == slot).then_some(()),
            _ => None,
        });
    }
    assert_gone(&host);
    assert_eq!(host.images().mapped, 0);
}

#[test]
fn settings_say_how_often_images_are_compared_and_what_follows_damage() {
    for (what, answered) in [("report", false), ("renew", true)] {
        let desk = Desk::new(&format!("[host]\nscrub_every_ms = 2\non_damaged_image = \"{what}\"\n"));
        desk.publish("moody", 1);
        let host = desk.host();
        let mut events = host.events();
        Image::only(&host, &stamped("moody", 1)).flip(Place::CODE, 1);
        wait_for(&mut events, |event| matches!(event, Event::ImageDamaged { .. }).then_some(()));
        if answered {
            wait_for(&mut events, |event| matches!(event, Event::ImageRenewed { .. }).then_some(()));
        }
        // By then the reload thread has processed what the comparison requested.
        host.verify_images();
        let elsewhere = reslot_tests::Folder::new();
        let outcome = host.load(elsewhere.publish("moody.so", &stamped("moody", 2))).unwrap();
        assert_eq!(outcome.generation(), Some(if answered { 3 } else { 2 }), "{outcome:?}");
    }
}
