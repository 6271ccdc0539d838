//! What follows a difference: a fresh image, an older version or nothing, for open and claimed slots, standbys and candidates.

use super::{
    Desk, SLOT, build,
    image::{Image, Place},
    policy,
};
use crate::support::{assert_nothing_left, copies, wait_for, wait_for_staged, wait_for_unmapped};
use fixture_interfaces::MoodyOwned;
use reslot::{
    Claim, Comparison, DamagedImage, Event, Host, LoadOutcome, RestoredState, RollbackReason, RollbackReport, RollbackState,
    RollbackTarget, SyncOutcome, VersionStatus,
};
use reslot_tests::{Fixture, Folder};
use std::{collections::BTreeSet, fs, path::PathBuf};

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

/// A host with an owned moody counter of the total 5, from a confirmed build with this stamp.
fn owned(folder: &Folder, stamps: &[u64]) -> (Host, Claim<dyn MoodyOwned>) {
    let host = Host::builder().policy(policy(DamagedImage::Renew)).build().unwrap();
    for stamp in stamps {
        host.load_as(SLOT, folder.publish("moody.so", &owned_build(*stamp))).unwrap();
        host.confirm(SLOT).unwrap();
    }
    let mut claim = host.claim::<dyn MoodyOwned>(SLOT).unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    (host, claim)
}

fn owned_build(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-moody-owned").stamped(stamp)
}

#[test]
fn rollback_that_waits_for_the_owner_stays_one_if_its_image_is_damaged() {
    let folder = Folder::new();
    let (host, mut claim) = owned(&folder, &[1000, 1001]);
    let mut events = host.events();
    wait_for_unmapped(&mut host.events(), SLOT, 1);
    let before = copies(host.private_folder());
    let outcome = host.rollback(SLOT, RollbackTarget::Previous).unwrap();
    assert!(matches!(outcome, LoadOutcome::Staged { generation: 3, .. }), "{outcome:?}");
    Image::of(new_copy(&host, &before), &owned_build(1000)).flip(Place::CONSTANT, 1);
    host.verify_images();
    wait_for_staged(&mut events, SLOT, 4);
    wait_for_unmapped(&mut host.events(), SLOT, 3);
    assert!(!host.verify_images().iter().any(reslot::ImageReport::is_damaged));
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::RolledBack { from: 2, generation: 4 });
    assert_eq!((claim.add(1).unwrap(), claim.stamp().unwrap()), (6, 1000));
    let report = wait_for_rolled_back(&mut events);
    assert_eq!((report.from, report.to, report.reason), (2, 4, RollbackReason::Manual));
    // The history has both, as after a rollback whose image was intact.
    assert_eq!(host.history(SLOT).len(), 2, "{:?}", host.history(SLOT));
    wait_for_unmapped(&mut host.events(), SLOT, 2);
    assert_nothing_left(&host, 1);
}

#[test]
fn saved_state_is_not_lost_if_the_image_that_waits_with_it_is_damaged() {
    let folder = Folder::new();
    let (host, mut claim) = owned(&folder, &[1000]);
    let mut events = host.events();
    let state = Claim::unload(&mut claim).unwrap().state.unwrap();
    wait_for_unmapped(&mut host.events(), SLOT, 1);
    let before = copies(host.private_folder());
    let path = folder.publish("moody.so", &owned_build(1001));
    let outcome = host.load_from(SLOT, path, state).unwrap();
    assert!(matches!(outcome, LoadOutcome::Staged { generation: 2, .. }), "{outcome:?}");
    // The file at its path is another one by now.
    folder.publish("moody.so", &owned_build(1002));
    Image::of(new_copy(&host, &before), &owned_build(1001)).flip(Place::CONSTANT, 1);
    host.verify_images();
    wait_for_staged(&mut events, SLOT, 3);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_eq!((claim.add(1).unwrap(), claim.stamp().unwrap()), (6, 1001));
    wait_for_unmapped(&mut host.events(), SLOT, 2);
    assert_nothing_left(&host, 1);
}

#[test]
fn fresh_images_that_are_damaged_in_the_same_place_are_counted_and_the_last_one_stays() {
    let mut desk = Desk::new(policy(DamagedImage::Renew));
    for generation in 1..=4 {
        Image::only(&desk.host, &build(1000)).flip(Place::CODE, 1);
        // More comparisons than fresh images.
        for _ in 0..3 {
            desk.host.verify_images();
        }
        assert_eq!(desk.wait_for_damage().0, generation);
        if generation < 4 {
            assert_eq!(desk.wait_for_renewed(), (generation + 1, generation));
            wait_for_unmapped(&mut desk.events, SLOT, generation);
        }
    }
    let given_up = wait_for(&mut desk.events, |event| match event {
        Event::RepairGivenUp {
            generation,
            fresh_images,
            ..
        } => Some((*generation, *fresh_images, event.to_string())),
        _ => None,
    });
    assert_eq!((given_up.0, given_up.1), (4, 3));
    assert!(
        given_up.2.contains("the last 3 fresh images differed at .text+"),
        "{}",
        given_up.2
    );
    desk.host.verify_images();
    let mut events = desk.host.events();
    let told = std::iter::from_fn(|| events.try_recv());
    let given_up = told
        .filter(|record| matches!(record.event, Event::RepairGivenUp { .. }))
        .count();
    assert_eq!((given_up, desk.damage_events()), (1, 4));
    assert_eq!(desk.host.slots()[0].generation, Some(4));
    assert_eq!((desk.add(1), desk.stamp()), (6, 1000));
}

#[test]
fn image_that_cannot_be_compared_is_reported_once_for_each_reason() {
    let mut desk = Desk::new(policy(DamagedImage::Renew));
    let published = desk.folder.publish("moody.so", b"another file");
    let [copy] = &copies(desk.host.private_folder())[..] else {
        panic!("one image is mapped")
    };
    fs::remove_file(copy).unwrap();
    for _ in 0..3 {
        let reports = desk.host.verify_images();
        let Comparison::Failed(why) = &reports[0].comparison else {
            panic!("{reports:#?}")
        };
        assert!(
            !reports[0].is_damaged() && why.contains("private copy cannot be read"),
            "{why}"
        );
    }
    let (generation, reason) = wait_for(&mut desk.events, |event| match event {
        Event::ImageNotCompared { generation, reason, .. } => Some((*generation, reason.clone())),
        _ => None,
    });
    assert!(generation == 1 && reason.contains(published.to_str().unwrap()), "{reason}");
    let mut events = desk.host.events();
    let told = std::iter::from_fn(|| events.try_recv());
    let not_compared = told.filter(|record| matches!(record.event, Event::ImageNotCompared { .. }));
    assert_eq!(not_compared.count(), 1);
    // The reason passes.
    desk.folder.publish("moody.so", &build(1000));
    let reports = desk.host.verify_images();
    assert!(matches!(&reports[0].comparison, Comparison::Compared(compared) if compared.bytes() > 10_000));
}

#[test]
fn images_of_shadows_and_of_sets_that_wait_are_compared() {
    let (folder, shadows) = (Folder::new(), Folder::new());
    let (host, mut claim) = owned(&folder, &[1000]);
    let mut events = host.events();
    let before = copies(host.private_folder());
    let shadow = Claim::shadow(&claim, shadows.publish("moody.so", &owned_build(1001))).unwrap();
    let image = Image::of(new_copy(&host, &before), &owned_build(1001));
    let before = copies(host.private_folder());
    host.load_together_as([(SLOT, folder.publish("moody.so", &owned_build(1002)))])
        .unwrap();
    let member = Image::of(new_copy(&host, &before), &owned_build(1002));
    let reports = host.verify_images();
    let names: Vec<_> = reports.iter().map(|report| (&*report.slot, report.generation)).collect();
    assert_eq!(names, [(SLOT, 1), (SLOT, 2), ("moody~shadow", 1)]);
    assert!(!reports.iter().any(reslot::ImageReport::is_damaged), "{reports:#?}");

    let flipped = [image.flip(Place::CONSTANT, 1), member.flip(Place::CONSTANT, 2)];
    let reports = host.verify_images();
    assert_eq!(
        (reports[2].differences(), reports[1].differences()),
        (&flipped[..1], &flipped[1..])
    );
    for _ in 0..2 {
        wait_for(&mut events, |event| matches!(event, Event::ImageDamaged { .. }).then_some(()));
    }
    // The shadow is its owner's. The member of a set is replaced when it serves.
    drop(shadow);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    host.verify_images();
    wait_for_staged(&mut events, SLOT, 3);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_eq!((claim.add(1).unwrap(), claim.stamp().unwrap()), (6, 1002));
    wait_for_unmapped(&mut events, SLOT, 2);
    assert!(!host.verify_images().iter().any(reslot::ImageReport::is_damaged));
}
