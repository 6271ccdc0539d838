//! Shadows: a build that runs beside the current generation with a copy of its state, and affects nothing else.

use crate::support::{assert_nothing_left, host, wait_for_refused, wait_for_staged, wait_for_unmapped};
use fixture_interfaces::{Counter, SharedCounter};
use reslot::{
    Claim, Event, Events, Host, LoadOutcome, Policy, RollbackError, RollbackTarget, Shadow, SlotError, SyncOutcome,
};
use reslot_tests::{Fixture, Folder};

fn begin(folder: &Folder, package: &str) -> (Host, Events) {
    folder.publish("libcounter.so", &Fixture::build(package).stamped(1));
    let host = host(folder);
    let events = host.events();
    (host, events)
}

/// Publishes a build in a folder that is not watched.
fn put(package: &str, stamp: u64) -> (Folder, std::path::PathBuf) {
    let elsewhere = Folder::new();
    let path = elsewhere.publish("libcandidate.so", &Fixture::build(package).stamped(stamp));
    (elsewhere, path)
}

#[test]
fn shadow_has_a_copy_of_the_state_and_leaves_the_original_alone() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    let (_elsewhere, path) = put("fx-counter", 2);

    let mut shadow = Claim::shadow(&claim, &path).unwrap();
    assert_eq!((Shadow::number(&shadow), Shadow::name(&shadow)), (1, "counter~shadow"));
    let report = shadow.report().unwrap();
    assert_eq!(
        (report.total, report.stamp),
        (5, 2),
        "the state of the one, the code of the other"
    );
    assert_eq!(shadow.add(100).unwrap(), 105);
    assert_eq!(claim.add(1).unwrap(), 6);
    assert_eq!(shadow.report().unwrap().total, 105);
    assert_eq!(
        (Claim::sync(&mut claim), Claim::generation(&claim)),
        (SyncOutcome::Unchanged, Some(1))
    );
    assert_eq!((host.images().mapped, host.images().shadows), (2, 1));
    assert_eq!(host.slots().len(), 1, "a shadow is no slot");
    let none = host.claim::<dyn Counter>("counter~shadow").unwrap_err();
    assert!(matches!(none, SlotError::Unknown { .. }), "{none}");

    drop(shadow);
    let report = wait_for_unmapped(&mut events, "counter~shadow", 1);
    assert!(!report.served);
    assert_nothing_left(&host, 1);
    assert_eq!(claim.add(1).unwrap(), 7);
}

#[test]
fn promotion_is_an_ordinary_reload_with_the_current_state() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let (_elsewhere, path) = put("fx-counter", 2);
    let mut shadow = Claim::shadow(&claim, &path).unwrap();
    assert_eq!((shadow.add(1_000).unwrap(), claim.add(3).unwrap()), (1_000, 3));
    let outcome = host.load(&path).unwrap();
    assert!(matches!(outcome, LoadOutcome::Staged { generation: 2, .. }), "{outcome:?}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    let report = claim.report().unwrap();
    assert_eq!((report.total, report.stamp), (3, 2));
    assert_eq!(shadow.add(1).unwrap(), 1_001, "it is still its owner's");
    let rest = Claim::shadow_kept(&claim, RollbackTarget::Previous).unwrap();
    let report = rest.report().unwrap();
    assert_eq!((report.total, report.stamp), (3, 1), "the old rules, with the state of today");
    assert_eq!(Shadow::number(&rest), 2);
    drop((shadow, rest));
    wait_for_unmapped(&mut events, "counter~shadow", 2);
    assert_nothing_left(&host, 1);
}

#[test]
fn panic_in_a_shadow_is_an_error_of_its_owner_only() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = Host::builder()
        .watch(folder.path())
        .policy(Policy::development())
        .build()
        .unwrap();
    let mut events = host.events();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(4).unwrap();
    let (_elsewhere, path) = put("fx-counter", 2);
    let mut shadow = Claim::shadow(&claim, &path).unwrap();
    let error = shadow.fail("not so").unwrap_err().to_string();
    assert!(error.contains("counter~shadow") && error.contains("not so"), "{error}");
    assert_eq!(shadow.report().unwrap().total, 5, "it can be called again");
    assert_eq!(
        (Claim::sync(&mut claim), claim.report().unwrap().total),
        (SyncOutcome::Unchanged, 4)
    );
    drop(shadow);
    wait_for_unmapped(&mut events, "counter~shadow", 1);
}

#[test]
fn state_is_migrated_as_in_a_reload_and_init_has_run_and_start_has_not() {
    let folder = Folder::new();
    let (host, _events) = begin(&folder, "fx-counter");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(5).unwrap();
    let (_elsewhere, path) = put("fx-counter-schema-3", 2);
    let shadow = Claim::shadow(&claim, &path).unwrap();
    let report = shadow.report().unwrap();
    assert_eq!(report.total, 5);
    assert_eq!(
        report.calls, 5,
        "what `init` derives is there, and what `start` makes of it is not"
    );
    assert_eq!(claim.report().unwrap().stamp, 1);
}

#[test]
fn shadow_is_refused_like_a_reload_and_nothing_stays() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    claim.add(13).unwrap();
    let whole = Fixture::build("fx-counter").stamped(7);
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        (
            "fx-counter-schema-3",
            Vec::new(),
            &["at migrate", "13 brings bad luck", "generation 1 keeps serving"],
        ),
        ("fx-other-state", Vec::new(), &["`currency`", "#[serde(default)]"]),
        ("fx-changed-method", Vec::new(), &["at lint", "add"]),
        (
            "fx-shared-counter",
            Vec::new(),
            &["at lint", "\"shared-counter\"", "name a build of the slot's plugin"],
        ),
        ("half of a library", whole[..whole.len() / 2].to_vec(), &["at lint"]),
    ];
    for (package, bytes, words) in cases {
        let bytes = match bytes.is_empty() {
            true => Fixture::build(package).bytes().to_vec(),
            false => bytes,
        };
        let elsewhere = Folder::new();
        let path = elsewhere.publish("libcandidate.so", &bytes);
        let refusal = Claim::shadow(&claim, &path).unwrap_err();
        assert_eq!((refusal.slot.as_deref(), refusal.serving), (Some("counter~shadow"), Some(1)));
        assert_eq!(refusal.path, path);
        let text = refusal.to_string();
        for word in words {
            assert!(text.contains(word), "{package}: {text}");
        }
        assert_eq!(wait_for_refused(&mut events).to_string(), text);
    }
    assert_nothing_left(&host, 1);
    assert_eq!(claim.add(1).unwrap(), 14);
    // A build that was refused as a shadow can still be loaded.
    folder.publish("libcounter.so", &Fixture::build("fx-counter-schema-3").stamped(2));
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
}

#[test]
fn open_slot_is_shadowed_through_the_host_and_a_claimed_one_is_its_owners() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    folder.publish("libshared.so", &Fixture::build("fx-shared-counter").stamped(1));
    let host = host(&folder);
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    slot.load().add(8).unwrap();
    let (_elsewhere, path) = put("fx-shared-counter", 2);
    let shadow = host.shadow::<dyn SharedCounter>("shared-counter", &path).unwrap();
    assert_eq!((shadow.add(1).unwrap(), shadow.stamp().unwrap()), (9, 2));
    assert_eq!((slot.load().total().unwrap(), slot.load().stamp().unwrap()), (8, 1));
    let claim = host.claim::<dyn Counter>("counter").unwrap();
    let refused = host.shadow::<dyn Counter>("counter", &path).unwrap_err();
    assert!(matches!(refused, RollbackError::Slot(SlotError::Claimed { .. })), "{refused}");
    drop(claim);
}

#[test]
fn shadow_outlives_its_host() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let claim = host.claim::<dyn Counter>("counter").unwrap();
    let (_elsewhere, path) = put("fx-counter", 2);
    let mut shadow = Claim::shadow(&claim, &path).unwrap();
    drop(claim);
    drop(host);
    assert_eq!(shadow.add(2).unwrap(), 2);
    drop(shadow);
    wait_for_unmapped(&mut events, "counter~shadow", 1);
}

#[test]
fn version_that_is_not_kept_cannot_be_shadowed() {
    let folder = Folder::new();
    let (host, mut events) = begin(&folder, "fx-counter");
    let claim = host.claim::<dyn Counter>("counter").unwrap();
    let none = Claim::shadow_kept(&claim, RollbackTarget::Previous).unwrap_err();
    assert!(matches!(none, RollbackError::Version { found: 0, .. }), "{none}");
    let (_elsewhere, path) = put("fx-counter", 2);
    drop(Claim::shadow(&claim, &path).unwrap());
    let told = crate::support::wait_for(&mut events, |event| match event {
        Event::Shadowed { slot, shadow } => Some((slot.to_string(), *shadow)),
        _ => None,
    });
    assert_eq!(told, ("counter".to_owned(), 1));
    assert_eq!(host.history("counter").len(), 1, "a shadow leaves nothing in the history");
}
