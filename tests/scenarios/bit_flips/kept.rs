//! What is kept for later: artifacts in the history, snapshots, saved states. What was damaged is refused, and the next older one is taken.

use super::{Desk, SLOT, image::flip_at, policy};
use crate::support::wait_for;
use fixture_interfaces::Moody;
use reslot::{
    Cause, DamagedImage, Event, HistoryError, Host, RestoredState, RollbackState, RollbackTarget, SavedStateError,
    UnloadOutcome,
};
use reslot_tests::Folder;
use std::{
    fs::{self, File},
    io::BufRead,
    os::unix::fs::FileExt,
};

#[test]
fn kept_artifact_with_a_flipped_bit_is_passed_over_and_the_next_older_is_taken() {
    let kept = Folder::new();
    let host = Host::builder()
        .policy(policy(DamagedImage::Renew).history(3))
        .history(kept.path());
    let host = host.build().unwrap();
    let mut events = host.events();
    let folder = Folder::new();
    for stamp in 1000..1003 {
        host.load(folder.publish("moody.so", &super::build(stamp))).unwrap();
        host.confirm(SLOT).unwrap();
    }
    let versions = host.history(SLOT);
    assert_eq!(versions.len(), 3);
    let damaged = kept.path().join(SLOT).join(format!("{}.so", versions[1].hash));
    let file = File::options().write(true).open(&damaged).unwrap();
    let byte = fs::read(&damaged).unwrap()[4711];
    file.write_all_at(&[byte ^ 1], 4711).unwrap();

    host.rollback(SLOT, RollbackTarget::Previous).unwrap();
    let error = wait_for(&mut events, |event| match event {
        Event::HistoryFailed { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert!(
        matches!(&error, HistoryError::Changed { file, .. } if *file == damaged),
        "{error}"
    );
    let slot = host.slot::<dyn Moody>(SLOT).unwrap();
    assert_eq!(slot.load().stamp().unwrap(), 1000);
}

#[test]
fn saved_state_with_a_flipped_bit_is_refused() {
    let desk = Desk::new(policy(DamagedImage::Renew));
    let UnloadOutcome::Unloaded(unloaded) = desk.host.unload(SLOT).unwrap() else {
        panic!("it is open")
    };
    let (state, intact) = (unloaded.state.unwrap(), desk.folder.path().join("moody.so"));
    let address = state.bytes().as_ptr().addr() as u64;
    flip_at(address + 3, 0b1000);
    let refusal = desk.host.load_from(SLOT, &intact, state.clone()).unwrap_err();
    let bytes = state.bytes().len();
    assert!(
        matches!(&*refusal.cause, Cause::SavedState(SavedStateError::Damaged { bytes: told }) if *told == bytes),
        "{refusal}"
    );
    flip_at(address + 3, 0b1000);
    desk.host.load_from(SLOT, &intact, state).unwrap();
    assert_eq!(desk.add(1), 6);
}

#[test]
fn damaged_snapshot_of_a_swap_is_refused_and_the_current_state_is_carried() {
    for is_damaged in [false, true] {
        let policy = policy(DamagedImage::Renew).rollback_state(RollbackState::Snapshot).history(3);
        let mut desk = Desk::new(policy);
        desk.load(1001);
        desk.host.confirm(SLOT).unwrap();
        // A total that no other test has, so that the encoded state can be found in memory.
        let total = 0x6b3f_91c2_55aa_0d17;
        assert_eq!(desk.add(total - 5), total);
        desk.load(1002);
        assert_eq!(desk.add(1), total + 1);
        if is_damaged {
            assert!(flip_all(&encoded(total)) > 0);
        }
        let oldest = desk.host.history(SLOT).last().unwrap().hash;
        desk.host.rollback(SLOT, RollbackTarget::Hash(oldest)).unwrap();
        let report = wait_for(&mut desk.events, |event| match event {
            Event::RolledBack(report) => Some(report.clone()),
            _ => None,
        });
        assert_eq!(desk.stamp(), 1000);
        let mut events = desk.host.events();
        let damaged = std::iter::from_fn(|| events.try_recv()).find_map(|record| match &record.event {
            Event::SnapshotDamaged { error, .. } => Some(error.clone()),
            _ => None,
        });
        match is_damaged {
            true => {
                assert!(matches!(damaged, Some(SavedStateError::Damaged { .. })), "{damaged:?}");
                assert!(matches!(report.state, RestoredState::Carried { .. }), "{report:?}");
                assert_eq!(desk.add(0), total + 1);
            }
            false => {
                assert_eq!(damaged, None);
                assert!(matches!(report.state, RestoredState::Snapshot { .. }), "{report:?}");
                assert_eq!(desk.add(0), total);
            }
        }
    }
}

/// The field `total` of an encoded state, inverted, so that it is not found where the test has it.
fn encoded(total: u64) -> Vec<u8> {
    let bytes = [&[0xa5][..], b"total", &[0xcf], &total.to_be_bytes()].concat();
    bytes.into_iter().map(|byte| !byte).collect()
}

/// Flips a bit in the last byte of each place in the heap that has these bytes inverted. Answers how many there were.
fn flip_all(inverted: &[u8]) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut found = Vec::new();
    for line in maps
        .lines()
        .filter(|line| line.split(' ').nth(1) == Some("rw-p") && !line.contains("stack"))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut bytes = vec![0; (to - from) as usize];
        // What is not there is not read.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        let mut rest = &bytes[..];
        // The standard library's search is optimised in a debug build, too.
        while rest.skip_until(!inverted[0]).unwrap() > 0 && !rest.is_empty() {
            let at = bytes.len() - rest.len() - 1;
            let place = bytes[at..].iter().take(inverted.len());
            if place.len() == inverted.len() && place.zip(inverted).all(|(byte, inverted)| *byte == !*inverted) {
                found.push(from + (at + inverted.len() - 1) as u64);
            }
        }
        // So that this copy is not found in a later round.
        bytes.fill(0);
    }
    found.iter().for_each(|address| flip_at(*address, 1));
    found.len()
}
