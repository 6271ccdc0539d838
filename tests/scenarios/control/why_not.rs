//! Answers to `why-not`.

use super::Place;
use crate::support::{wait_for_refused, wait_for_staged};
use fixture_interfaces::Probe;
use reslot::{Claim, Policy, control::protocol::Request};
use reslot_tests::{Fixture, Folder};
use std::{fs, path::Path, time::Duration};

fn reload(place: &Place, path: &Path) {
    let target = path.to_str().unwrap().to_owned();
    place.done(Request::Reload { target });
}

fn probe(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-probe").stamped(stamp)
}

#[test]
fn files_are_distinguished() {
    let place = Place::new();
    let serves = place.folder.publish("probe.so", &probe(1));
    reload(&place, &serves);
    let reason = place.why_not(&serves);
    assert!(reason.serves && reason.slot.as_deref() == Some("probe"), "{reason:#?}");
    let reason = place.why_not("probe");
    assert!(reason.serves && reason.findings.is_empty(), "{reason:#?}");

    let elsewhere = Folder::new();
    let not_watched = elsewhere.publish("probe.so", &probe(2));
    let odd_name = place.folder.publish("probe.txt", &probe(3));
    let hidden = place.folder.publish(".probe.so", &probe(4));
    let garbage = place.folder.publish("garbage.so", b"\x7fELF and then nothing");
    let no_manifest = place.folder.publish("other.txt", Fixture::build("fx-no-manifest").bytes());
    let missing = place.folder.path().join("missing.so");
    for (path, word) in [
        (&not_watched, "folder that the host watches"),
        (&odd_name, "*.so"),
        (&hidden, "*.so"),
        (&garbage, "64-bit"),
        (&no_manifest, "manifest"),
        (&missing, "No such file"),
        (&place.folder.path().to_owned(), "not a regular file"),
    ] {
        let reason = place.why_not(path);
        assert!(!reason.serves, "{reason:#?}");
        let said = reason.findings.join("\n").to_lowercase();
        assert!(said.contains(&word.to_lowercase()), "{word}: {reason:#?}");
        assert!(!reason.remedies.is_empty(), "{reason:#?}");
    }
    // The request loads nothing.
    assert_eq!(place.overview().slots[0].generation, Some(1));
}

#[test]
fn file_that_is_being_written_is_reported() {
    let place = Place::new();
    let path = place.folder.path().join("probe.so");
    let _writer = fs::File::create(&path).unwrap();
    let reason = place.why_not(&path);
    assert!(
        reason.findings.iter().any(|finding| finding.contains("still being written")),
        "{reason:#?}"
    );
}

#[test]
fn refusal_and_rollback_are_shown() {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    let place = Place::with(policy);
    let mut events = place.host.events();
    let path = place.folder.publish("probe.so", &probe(1));
    reload(&place, &path);
    place.folder.publish("probe.so", b"no library");
    wait_for_refused(&mut events);
    let reason = place.why_not("probe");
    assert!(
        reason.serves && !reason.findings.is_empty() && !reason.remedies.is_empty(),
        "{reason:#?}"
    );
    assert!(reason.summary.contains("refused"), "{reason:#?}");

    let path = place.folder.publish("probe.so", &probe(2));
    reload(&place, &path);
    let slot = "probe".to_owned();
    place.done(Request::Rollback { slot, to: None });
    let reason = place.why_not("probe");
    assert!(
        reason
            .findings
            .iter()
            .any(|finding| finding.contains("rolled back from generation 2")),
        "{reason:#?}"
    );
    let reason = place.why_not(&path);
    assert!(
        !reason.serves && reason.findings.iter().any(|finding| finding.contains("history")),
        "{reason:#?}"
    );
}

#[test]
fn slot_in_which_nothing_ever_served_has_its_refusal() {
    let place = Place::new();
    let mut events = place.host.events();
    place
        .folder
        .publish("probe.so", &Fixture::build("fx-probe-refuses-start").stamped(1));
    let refusal = wait_for_refused(&mut events);
    let reason = place.why_not(refusal.slot.as_deref().unwrap());
    assert!(
        !reason.serves && reason.findings.iter().any(|finding| finding.contains("`start` failed")),
        "{reason:#?}"
    );
}

#[test]
fn candidate_that_waits_names_its_owner() {
    let place = Place::new();
    let mut events = place.host.events();
    let path = place.folder.publish("probe.so", &probe(1));
    reload(&place, &path);
    let mut claim = place.host.claim::<dyn Probe>("probe").unwrap();
    let path = place.folder.publish("probe.so", &probe(2));
    wait_for_staged(&mut events, "probe", 2);
    assert_eq!(place.overview().slots[0].state, "staged");
    for target in [path.as_path(), Path::new("probe")] {
        let reason = place.why_not(target);
        assert!(
            reason.findings.iter().any(|finding| finding.contains("why_not.rs")),
            "{reason:#?}"
        );
        assert!(reason.remedies.iter().any(|remedy| remedy.contains("sync")), "{reason:#?}");
    }
    let _ = Claim::sync(&mut claim);
    assert!(place.why_not(&path).serves);
}
