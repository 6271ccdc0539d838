//! Runs that must fail, each with a message that says what is wrong.

mod common;

use common::{artifact, says};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot_testkit::{Artifact, Broken, Failure, Report, UpDownUp};
use reslot_tests::Folder;
use std::{os::unix::net::UnixListener, time::Duration};

/// The counter from one fixture to another.
fn counter(old: &str, new: &str) -> Result<Report, Failure> {
    let folder = Folder::new();
    UpDownUp::<dyn Counter>::new(artifact(&folder, old, 1), artifact(&folder, new, 2))
        .faults(false)
        .claimed(|counter| {
            counter.add(1)?;
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .run()
}

#[test]
fn field_that_is_lost_on_the_way_down() {
    let failure = counter("fx-counter", "fx-counter-forgets").unwrap_err();
    assert!(matches!(failure.broken(), Broken::StateLost { which: 1, .. }), "{failure}");
    says(
        &failure,
        &[
            "up, down, up, down",
            "state was lost: `same` number 1 answered",
            "after:  0",
            "events of the host",
        ],
    );
}

#[test]
fn state_that_does_not_come_up() {
    let failure = counter("fx-counter", "fx-other-state").unwrap_err();
    assert!(matches!(failure.broken(), Broken::NotMoved(_)), "{failure}");
    says(
        &failure,
        &[
            "up, down, up, up (",
            "the move was not made",
            "was refused at migrate",
            "missing field `currency`",
        ],
    );
}

#[test]
fn calls_that_fail() {
    let folder = Folder::new();
    let (old, new) = (artifact(&folder, "fx-counter", 1), artifact(&folder, "fx-counter", 2));
    let failure = UpDownUp::<dyn Counter>::new(old, new)
        .faults(false)
        .claimed(|counter| {
            if counter.add(1)? == 7 {
                counter.fail("at seven")?;
            }
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .run()
        .unwrap_err();
    assert!(matches!(failure.broken(), Broken::Calls { count: 1, .. }), "{failure}");
    says(
        &failure,
        &[
            "1 of ",
            "unit(s) of load failed; the first: slot \"counter\": generation 1 panicked in `fail`: at seven",
        ],
    );
}

#[test]
fn thread_that_is_left_running() {
    let folder = Folder::new();
    let socket = folder.path().join("socket");
    // While the listener lives, its connections stay open, and the threads continue.
    let listener = UnixListener::bind(&socket).unwrap();
    let (old, new) = (artifact(&folder, "fx-lingering", 1), artifact(&folder, "fx-lingering", 2));
    let failure = UpDownUp::<dyn Probe>::new(old, new)
        .faults(false)
        .drain_deadline(Duration::from_millis(100))
        .shared(2, |probe| {
            probe.stamp()?;
            Ok(())
        })
        .state(|probe| {
            probe.echo(socket.to_str().unwrap())?;
            Ok(())
        })
        .run()
        .unwrap_err();
    drop(listener);
    assert!(
        matches!(failure.broken(), Broken::StaysMapped { generation: 1, .. }),
        "{failure}"
    );
    says(
        &failure,
        &["generation 1 stays mapped: threads of the plugin still run: \"lingers\""],
    );
}

#[test]
fn figures_that_do_not_add_up() {
    let folder = Folder::new();
    let (old, new) = (
        artifact(&folder, "fx-shared-counter", 1),
        artifact(&folder, "fx-shared-counter", 2),
    );
    let failure = UpDownUp::<dyn SharedCounter>::new(old, new)
        .faults(false)
        .shared(2, |counter| {
            counter.add(1)?;
            Ok(())
        })
        .adds_up(|counter, units| match counter.total()? {
            total if total == 2 * units => Ok(()),
            total => Err(format!("the counter has {total}").into()),
        })
        .run()
        .unwrap_err();
    says(&failure, &["it does not add up after", "the counter has"]);
}

#[test]
fn state_that_nobody_looks_at() {
    let folder = Folder::new();
    let failure = UpDownUp::<dyn Counter>::same_build(artifact(&folder, "fx-counter", 1))
        .claimed(|counter| {
            counter.add(1)?;
            Ok(())
        })
        .run()
        .unwrap_err();
    says(&failure, &["has state, and no check would detect its loss", "`.same(…)`"]);
}

#[test]
fn artifacts_that_cannot_be_compared() {
    let folder = Folder::new();
    let run = |old: Artifact, new: Artifact| {
        let run = UpDownUp::<dyn Counter>::new(old, new).claimed(|_| Ok(()));
        run.same(|counter| Ok(counter.report()?.total)).run().unwrap_err()
    };
    let one = artifact(&folder, "fx-counter", 1);
    says(
        &run(one.clone(), one.clone()),
        &["old and new are the same file, to the byte", "`UpDownUp::same_build`"],
    );
    let other = artifact(&folder, "fx-shared-counter", 1);
    says(
        &run(one.clone(), other),
        &["old is of plugin \"counter\" and new of plugin \"shared-counter\""],
    );
    let none = Artifact::at(folder.publish("text.so", b"a text")).unwrap();
    says(&run(one, none), &["is not an artifact for this host"]);
    let missing = Artifact::at(folder.path().join("nowhere.so")).unwrap_err();
    assert!(missing.to_string().contains("there is no artifact"), "{missing}");
    let unknown = Artifact::build("no-such-package").unwrap_err();
    assert!(
        unknown.to_string().contains("package \"no-such-package\" could not be built"),
        "{unknown}"
    );
}

#[test]
fn call_that_was_to_panic_and_does_not() {
    let folder = Folder::new();
    let failure = UpDownUp::<dyn Counter>::same_build(artifact(&folder, "fx-counter", 1))
        .claimed(|counter| {
            counter.add(1)?;
            Ok(())
        })
        .same(|counter| Ok(counter.report()?.total))
        .panics(|counter| counter.add(1).map(drop))
        .run()
        .unwrap_err();
    says(
        &failure,
        &[
            "a call that panics on probation, after the panic",
            "must panic inside the plugin, and it returned Ok(())",
        ],
    );
}
