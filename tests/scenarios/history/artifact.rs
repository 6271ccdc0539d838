//! The bytes of a kept version, to run it beside the current one.

use super::{Place, SHARED, disk::kept_files, shared, stamp, two_that_begin_alike};
use crate::support::assert_nothing_left;
use reslot::{ContentHash, HashPrefix, HistoryError, Host, LoadOutcome, RollbackError, RollbackTarget};
use std::fs;

#[test]
fn bytes_of_each_kept_version_are_those_that_were_loaded() {
    let place = Place::new();
    for host in [place.builder().build().unwrap(), place.host()] {
        let hashes = [1, 2, 3].map(|n| place.good(&host, n));
        for (hash, n) in hashes.iter().zip(1..) {
            assert!(host.artifact(SHARED, *hash).unwrap() == shared(n), "version {n}");
            assert!(
                host.artifact(SHARED, hash.to_string()[..12].parse::<HashPrefix>().unwrap())
                    .unwrap()
                    == shared(n),
                "its first digits do"
            );
        }
        // Nothing was loaded for it, and the current generation keeps serving.
        assert_eq!(stamp(&host), 3);
        assert_nothing_left(&host, 1);

        // It is loaded in another host.
        let beside = Host::builder().build().unwrap();
        beside.load(place.aside(&host.artifact(SHARED, hashes[0]).unwrap())).unwrap();
        assert_eq!((stamp(&beside), stamp(&host)), (1, 3));
    }
}

#[test]
fn version_that_is_not_kept_is_refused_with_the_kept_ones() {
    let place = Place::new();
    let host = place.host();
    let error = host.artifact(SHARED, ContentHash::of(b"nothing")).unwrap_err();
    assert!(matches!(&error, RollbackError::Slot(_)), "{error:?}");
    assert!(error.to_string().contains(SHARED), "{error}");

    let (stamps, alike, other) = two_that_begin_alike();
    let hashes = stamps.map(|n| place.good(&host, n));
    for (asked, fits) in [(other, 0), (alike, 2)] {
        let error = host.artifact(SHARED, asked).unwrap_err();
        let RollbackError::Version {
            slot,
            prefix,
            found,
            known,
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!((slot.as_str(), *prefix, *found), (SHARED, Some(asked), fits));
        assert_eq!(known, &[hashes[1], hashes[0]]);
    }
    assert!(matches!(host.artifact("nobody", hashes[0]), Err(RollbackError::Slot(_))));

    // The bytes of a faulty version are not available any more.
    let LoadOutcome::Swapped(third) = place.load(&host, &shared(18)) else {
        panic!("it is open")
    };
    host.artifact(SHARED, third.hash).unwrap();
    host.rollback(SHARED, RollbackTarget::Previous).unwrap();
    let error = host.artifact(SHARED, third.hash).unwrap_err();
    assert!(
        matches!(
            &error,
            RollbackError::Version { .. } | RollbackError::History(HistoryError::KnownBad { .. })
        ),
        "{error:?}"
    );
    assert_eq!(stamp(&host), stamps[1]);
}

#[test]
fn damaged_file_is_refused_once_and_no_longer_listed() {
    for gone in [false, true] {
        let place = Place::new();
        let host = place.host();
        let hash = place.good(&host, 1);
        let [file] = &*kept_files(&place) else { panic!("one is kept") };
        let later = place.good(&host, 2);
        match gone {
            true => fs::remove_file(file).unwrap(),
            false => {
                let mut bytes = fs::read(file).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(file, bytes).unwrap();
            }
        }
        let error = host.artifact(SHARED, hash).unwrap_err();
        match &error {
            RollbackError::History(HistoryError::Missing { file: named, .. }) => assert!(gone && named == file),
            RollbackError::History(HistoryError::Changed { file: named, .. }) => assert!(!gone && named == file),
            _ => panic!("{error:?}"),
        }
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
        assert!(matches!(
            host.artifact(SHARED, hash),
            Err(RollbackError::Version { found: 0, .. })
        ));
        assert!(host.artifact(SHARED, later).unwrap() == shared(2));
        assert_nothing_left(&host, 1);
    }
}

#[test]
fn bytes_of_a_version_are_available_as_soon_as_it_is_listed() {
    let place = Place::new();
    // A history that ends with the process stores the artifact after the swap.
    let host = place.builder().build().unwrap();
    for n in 1..20 {
        let LoadOutcome::Swapped(report) = place.load(&host, &shared(n)) else {
            panic!("it is open")
        };
        assert!(host.artifact(SHARED, report.hash).unwrap() == shared(n), "version {n}");
    }
    host.rollback(SHARED, RollbackTarget::Previous).unwrap();
    assert_eq!(stamp(&host), 18);
    drop(host);
}
