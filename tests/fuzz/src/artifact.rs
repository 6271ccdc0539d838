//! The bytes of an artifact: what the lint, the inspection and the search for names make of them.

use crate::{elf::Library, is_safe_for_a_terminal};
use arbitrary::{Arbitrary, Unstructured};
use reslot_artifact::lint::{Expectations, examine_foreign, inspect, lint};

/// What the host expects. The texts are fixed, so that a seed stays valid with every compiler.
fn expectations() -> Expectations<'static> {
    Expectations {
        toolchain: "rustc fuzz",
        target: "fuzz-linux",
        api: "0.1.0",
        ..Expectations::of_this_build()
    }
}

/// Any bytes as an artifact.
pub fn artifact(bytes: &[u8]) {
    let expect = expectations();
    let inspected = inspect(bytes, &expect);
    for finding in &inspected.findings {
        is_safe_for_a_terminal(&finding.to_string());
    }
    reslot_artifact::inspect(bytes);

    let mut changed = bytes.to_vec();
    match lint(&mut changed, &expect) {
        Err(first) => {
            assert_eq!(inspected.findings.first(), Some(&first), "the inspection and the lint differ");
            assert_eq!(changed, bytes, "refused bytes were changed");
        }
        Ok(linted) => {
            assert_eq!(inspected.findings, [], "the lint accepts what the inspection does not");
            assert_eq!(inspected.manifest.as_ref(), Some(&linted.manifest));
            assert_eq!(
                linted.changed(),
                changed != bytes,
                "a change that is not reported, or one that was not made"
            );
            assert_eq!(changed.len(), bytes.len());
            let mut again = changed.clone();
            let second = lint(&mut again, &expect).expect("the changed bytes are no longer an artifact");
            assert_eq!(second.manifest, linted.manifest, "the change has changed the manifest");
            assert!(!second.changed() && again == changed, "there is more to change");
            lies_within(&changed);
        }
    }

    let mut foreign = bytes.to_vec();
    match examine_foreign(&mut foreign, false) {
        Ok(found) => assert!(found.nodelete || foreign == bytes),
        Err(error) => {
            is_safe_for_a_terminal(&error.to_string());
            assert_eq!(foreign, bytes);
        }
    }

    // The parser reads words in place; a part of a larger buffer may not be aligned.
    let shifted = [&[0], bytes].concat();
    assert_eq!(inspect(&shifted[1..], &expect), inspected);
}

/// A library whose parts and offsets come from the input, so that the checks behind the headers are reached.
pub fn built_artifact(bytes: &[u8]) {
    if let Ok(library) = Library::arbitrary_take_rest(Unstructured::new(bytes)) {
        artifact(&library.build());
    }
}

/// The names that the bytes of a library have for addresses.
pub fn debug_info(bytes: &[u8]) {
    let offsets: Vec<usize> = (1..64)
        .map(|at| at * 0x20)
        .chain([0x1000, 0x1010, 0x1020, 0x1080, 0x2000])
        .collect();
    let _ = reslot_native::names_in(bytes, &offsets);
}

/// Every segment that the loader maps is inside the file: read by hand, not with the lint's parser.
fn lies_within(file: &[u8]) {
    let word = |at: usize| u64::from_ne_bytes(file[at..at + 8].try_into().expect("8 bytes"));
    let half = |at: usize| u64::from(u16::from_ne_bytes(file[at..at + 2].try_into().expect("2 bytes")));
    let (table, size, count) = (word(32), half(54), half(56));
    assert_eq!(size, 56);
    for at in 0..count {
        let header = usize::try_from(table + at * size).expect("an offset");
        let (offset, bytes) = (word(header + 8), word(header + 32));
        let end = offset.checked_add(bytes);
        assert!(
            bytes == 0 || end.is_some_and(|end| end <= file.len() as u64),
            "segment {at} ends at {end:?} of {}",
            file.len()
        );
    }
}
