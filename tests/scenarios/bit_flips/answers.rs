//! What follows a difference: a fresh image, an older version or nothing, for open and claimed slots, standbys and candidates.

use super::{
    Desk, SLOT, build,
    image::{Image, Place},
    policy,
};
use crate::support::{assert_nothing_left, copies, wait_for, wait_for_staged, wait_for_unmapped};
use fixture_interfaces::MoodyOwned;
use reslot::{
    Claim, DamagedImage, Event, Host, RestoredState, RollbackReason, RollbackReport, RollbackState, SyncOutcome,
    VersionStatus,
};
use reslot_tests::{Fixture, Folder};
use std::{collections::BTreeSet, path::PathBuf};

fn wait_for_rolled_back(events: &mut reslot::Events) -> RollbackReport {
    wait_for(events, |event| match event {
        Event::RolledBack(report) => Some(report.clone()),
        _ => None,
    })
}

/// The private copies that have come since.
fn new_copy(host: &Host, before: &[PathBuf]) -> PathBuf {
    let before: BTreeSet<_> = before.iter().collect();
    let now = copies(host.private_folder());
    let mut new = now.iter().filter(|copy| !before.contains(copy));
    new.next().unwrap().clone()
}

/// Loads another build, and answers its image.
fn load_another(desk: &Desk, stamp: u64) -> Image {
    let before = copies(desk.host.private_folder());
    desk.load(stamp);
    Image::of(new_copy(&desk.host, &before), &build(stamp))
}

#[test]
fn slot_is_rolled_back_to_its_standby_and_the_version_is_not_bad() {
    for (state, total) in [(RollbackState::KeepCurrent, 8), (RollbackState::Snapshot, 5)] {
        let mut desk = Desk::new(policy(DamagedImage::Rollback).rollback_state(state));
        let image = load_another(&desk, 1001);
        assert_eq!(desk.add(3), 8);
        let flipped = image.flip(Place::CODE, 1);
        desk.host.verify_images();
        let report = wait_for_rolled_back(&mut desk.events);
        assert_eq!((report.from, report.to), (2, 1));
        assert!(
            matches!(&report.reason, RollbackReason::Damaged { slot, difference } if &**slot == SLOT && **difference == flipped),
            "{report:?}"
        );
        assert_eq!((desk.add(0), desk.stamp()), (total, 1000));
        let carried = matches!(report.state, RestoredState::Carried { .. });
        assert_eq!(carried, state == RollbackState::KeepCurrent, "{report:?}");
        let bad = |kept: &reslot::HistoryEntry| matches!(kept.condition, VersionStatus::KnownBad(_));
        assert!(!desk.host.history(SLOT).iter().any(bad), "{:?}", desk.host.history(SLOT));
        wait_for_unmapped(&mut desk.events, SLOT, 2);
        // It may be loaded again.
        desk.load(1001);
        assert_eq!(desk.stamp(), 1001);
    }
}

#[test]
fn slot_without_a_standby_is_rolled_back_to_the_history_or_else_gets_a_fresh_image() {
    let mut desk = Desk::new(policy(DamagedImage::Rollback));
    // There is no older version.
    Image::only(&desk.host, &build(1000)).flip(Place::CONSTANT, 1);
    desk.host.verify_images();
    assert_eq!(desk.wait_for_renewed(), (2, 1));
    wait_for_unmapped(&mut desk.events, SLOT, 1);
    desk.load(1001);
    desk.host.confirm(SLOT).unwrap();
    wait_for_unmapped(&mut desk.events, SLOT, 2);
    assert_eq!(desk.add(3), 8);
    Image::only(&desk.host, &build(1001)).flip(Place::CODE, 1);
    desk.host.verify_images();
    let report = wait_for_rolled_back(&mut desk.events);
    assert_eq!((report.from, report.to, report.reason.kind()), (3, 4, "damaged"));
    assert_eq!((desk.add(0), desk.stamp()), (8, 1000));
    assert_nothing_left(&desk.host, 1);
}

#[test]
fn damaged_standby_is_given_up_and_the_current_generation_stays() {
    let mut desk = Desk::new(policy(DamagedImage::Renew));
    let standby = Image::only(&desk.host, &build(1000));
    desk.load(1001);
    assert_eq!(desk.host.slots()[0].standby, Some(1));
    standby.flip(Place::CODE, 1);
    desk.host.verify_images();
    assert_eq!(desk.wait_for_damage().0, 1);
    wait_for_unmapped(&mut desk.events, SLOT, 1);
    assert_eq!(
        (desk.host.slots()[0].standby, desk.host.slots()[0].generation),
        (None, Some(2))
    );
    assert_eq!((desk.add(1), desk.stamp()), (6, 1001));
}

#[test]
fn owner_adopts_the_fresh_image_of_his_claim_with_the_state() {
    let (folder, package) = (Folder::new(), "fx-moody-owned");
    let host = Host::builder().policy(policy(DamagedImage::Renew)).build().unwrap();
    let mut events = host.events();
    let bytes = Fixture::build(package).stamped(1000);
    host.load_as(SLOT, folder.publish("moody.so", &bytes)).unwrap();
    let mut claim = host.claim::<dyn MoodyOwned>(SLOT).unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    let image = Image::only(&host, &bytes);
    image.flip(Place::CONSTANT, 1);
    host.verify_images();
    wait_for_staged(&mut events, SLOT, 2);
    // Further comparisons find the damage and wait for the owner, too.
    host.verify_images();
    host.verify_images();
    assert_eq!(claim.add(1).unwrap(), 6);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!(claim.add(1).unwrap(), 7);
    wait_for_unmapped(&mut events, SLOT, 1);
    assert_nothing_left(&host, 1);
    assert!(!host.verify_images()[0].is_damaged());

    // A candidate that is damaged while it waits is loaded again.
    let before = copies(host.private_folder());
    let bytes = Fixture::build(package).stamped(1001);
    host.load_as(SLOT, folder.publish("moody.so", &bytes)).unwrap();
    wait_for_staged(&mut events, SLOT, 3);
    Image::of(new_copy(&host, &before), &bytes).flip(Place::CONSTANT, 1);
    host.verify_images();
    wait_for_staged(&mut events, SLOT, 4);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 4 });
    assert_eq!((claim.add(1).unwrap(), claim.stamp().unwrap()), (8, 1001));
}
