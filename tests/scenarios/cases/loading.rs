//! Loading and compatibility.

use crate::{
    quarantine::with_quarantined,
    support::{
        assert_nothing_left, host, wait_for_refused, wait_for_staged, wait_for_swapped, wait_for_unmapped, wait_until,
    },
};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{
    Cause, Claim, Host, LoadOutcome, Policy, RollbackTarget, SlotError, Step, SyncOutcome, VersionStatus, mapped_copies,
};
use reslot_tests::{Fixture, Folder};

fn without_probation() -> Host {
    Host::builder().policy(Policy::without_probation()).build().unwrap()
}

/// Erlang keeps two versions of a module and refuses a third. Here the number of retired versions with callers is not
/// limited; only the number of quarantined images is.
#[test]
fn version_limit() {
    let folder = Folder::new();
    let (host, sockets) = with_quarantined(&folder, 2);
    for stamp in [8, 9] {
        let refusal = host
            .load(folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(stamp)))
            .unwrap_err();
        assert!(matches!(&*refusal.cause, Cause::QuarantineFull { cap: 2, .. }), "{refusal}");
        assert_eq!((refusal.candidate, refusal.serving), (None, Some(3)));
        // Nothing of the refused artifact is mapped or kept.
        assert_eq!(mapped_copies(host.private_folder()), 3);
        assert!(
            host.history("probe").iter().all(|kept| kept.bytes > 0),
            "{:?}",
            host.history("probe")
        );
    }
    assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 3);
    drop(sockets);
}

#[test]
fn broken_update_keeps_active() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    // Without a probation it is confirmed at the swap; another thread records that.
    let good = || {
        host.history("counter")
            .iter()
            .all(|kept| kept.condition == VersionStatus::Confirmed)
    };
    wait_until(good, "the first version's place in the history");
    let version = host.history("counter");
    let fixtures = [
        "fx-no-manifest",
        "fx-changed-method",
        "fx-newer-major",
        "fx-panics-in-constructor",
        "fx-other-state",
        "fx-refuses-start",
        "fx-panics-in-start",
    ];
    for package in fixtures {
        folder.publish("libcounter.so", Fixture::build(package).bytes());
        let refusal = loop {
            // Candidates that get this far are refused in `sync`.
            let synced = Claim::sync(&mut claim);
            assert!(
                matches!(synced, SyncOutcome::Unchanged | SyncOutcome::Refused { serving: Some(1) }),
                "{synced:?}"
            );
            let told = std::iter::from_fn(|| events.try_recv()).find_map(|record| match &record.event {
                reslot::Event::Refused(refusal) => Some(refusal.clone()),
                _ => None,
            });
            if let Some(refusal) = told {
                break refusal;
            }
            std::thread::yield_now();
        };
        assert_eq!(refusal.serving, Some(1), "{refusal}");
        let report = claim.report().unwrap();
        assert_eq!((report.total, report.stamp, report.calls), (5, 1, 1), "{refusal}");
        assert_eq!((Claim::generation(&claim), Claim::has_staged(&claim)), (Some(1), false));
        assert_eq!(host.history("counter"), version, "{refusal}");
        assert_nothing_left(&host, 1);
    }
}

/// A build that crashes the process as soon as it is mapped. The process survives, so none of its code has run.
#[test]
fn abi_mismatch_refused() {
    const CRASHES_WHEN_OPENED: u64 = 1;
    for (from, to, words) in [
        (
            "\"toolchain\":\"rustc 1.",
            "\"toolchain\":\"rustc 9.",
            ["rustc 9.", "rustc 1."],
        ),
        ("\"api\":\"0.", "\"api\":\"7.", ["7.", "this host has 0."]),
        ("{\"reslot\":3,", "{\"reslot\":4,", ["manifest format 4", "reads format 3"]),
    ] {
        let (folder, host) = (Folder::new(), without_probation());
        host.load(folder.publish("a.so", &Fixture::build("fx-counter").stamped(1)))
            .unwrap();
        let mut claim = host.claim::<dyn Counter>("counter").unwrap();
        let mut bytes = Fixture::build("fx-births").stamped(CRASHES_WHEN_OPENED);
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
        let at = at.expect("the manifest has it");
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        let refusal = host.load(folder.publish("b.so", &bytes)).unwrap_err();
        assert_eq!((refusal.step, refusal.candidate), (Step::Lint, None), "{refusal}");
        for words in words {
            assert!(refusal.to_string().contains(words), "{refusal}");
        }
        assert_eq!(claim.add(1).unwrap(), 1);
        assert_nothing_left(&host, 1);
    }
}

#[test]
fn same_path_new_content_is_seen() {
    let folder = Folder::new();
    folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    for n in 2..=6 {
        let path = folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(n));
        // The watch loads half of them, and the test loads the other half by name.
        if n % 2 == 0 {
            host.load(path).unwrap();
        }
        wait_for_swapped(&mut events, "probe", n);
        assert_eq!(slot.load().stamp().unwrap(), n);
    }
}

#[test]
fn init_once_per_image() {
    let (folder, host) = (Folder::new(), without_probation());
    for n in 1..=5 {
        host.load(folder.publish("a.so", &Fixture::build("fx-moods").stamped(n)))
            .unwrap();
        let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
        slot.load().add(1).unwrap();
        assert_eq!(slot.load().label().unwrap(), "initialised 1");
    }
    assert_eq!(
        host.slot::<dyn SharedCounter>("shared-counter")
            .unwrap()
            .load()
            .total()
            .unwrap(),
        5
    );
    // The same content loaded again is another image with its own statics.
    host.load(folder.publish("a.so", &Fixture::build("fx-moods").stamped(1)))
        .unwrap();
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    assert_eq!(
        (slot.load().label().unwrap(), slot.load().total().unwrap()),
        ("initialised 1", 5)
    );
}

/// Without `unload`, an image is unmapped after a swap when its last holder releases it. Operations on an empty slot are
/// refused, and releasing twice has no further effect.
#[test]
fn unload_without_load_is_refused() {
    let host = without_probation();
    assert!(matches!(host.claim::<dyn Counter>("counter"), Err(SlotError::Unknown { .. })));
    assert!(matches!(host.slot::<dyn Probe>("probe"), Err(SlotError::Unknown { .. })));
    assert!(matches!(host.confirm("counter"), Err(SlotError::Unknown { .. })));
    let error = host.rollback("counter", RollbackTarget::Previous).unwrap_err();
    assert!(
        error.to_string().starts_with("no slot \"counter\": nothing is loaded"),
        "{error}"
    );
    assert!(host.who_holds("counter").is_empty() && host.history("counter").is_empty());
    let mut reader = host.reader();
    reader.release();
    reader.release();
    assert_nothing_left(&host, 0);
}

/// An unmapped build can be loaded again: in its slot, after other builds, and in a later host.
#[test]
fn load_after_unload_works() {
    let folder = Folder::new();
    let first = folder.publish("a.so", &Fixture::build("fx-counter").stamped(1));
    let second = folder.publish("b.so", &Fixture::build("fx-counter").stamped(2));
    for _ in 0..2 {
        let host = without_probation();
        let mut events = host.events();
        for generation in 1..=4 {
            let path = if generation % 2 == 1 { &first } else { &second };
            assert!(matches!(host.load(path), Ok(LoadOutcome::Swapped(report)) if report.generation == generation));
            if generation > 1 {
                wait_for_unmapped(&mut events, "counter", generation - 1);
            }
            assert_eq!(host.claim::<dyn Counter>("counter").unwrap().add(1).unwrap(), generation);
        }
        assert_nothing_left(&host, 1);
        let private = host.private_folder().to_owned();
        drop(host);
        assert_eq!(mapped_copies(&private), 0);
    }
    // The same after a refusal, and in a claimed slot.
    let host = without_probation();
    let mut events = host.events();
    host.load(folder.publish("c.so", Fixture::build("fx-refuses-start").bytes()))
        .unwrap_err();
    wait_for_refused(&mut events);
    host.load(&first).unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    host.load(&second).unwrap();
    wait_for_staged(&mut events, "counter", 3);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_nothing_left(&host, 1);
}
