//! Artifacts of fixtures, in files that live as long as the test.

use reslot_testkit::{Artifact, Failure};
use reslot_tests::{Fixture, Folder};

/// A fixture with this stamp.
pub fn artifact(folder: &Folder, package: &str, stamp: u64) -> Artifact {
    let bytes = Fixture::build(package).stamped(stamp);
    Artifact::at(folder.publish(&format!("{package}-{stamp}.so"), &bytes)).expect("it was just written")
}

/// Checks that a failure contains all of these texts.
#[allow(dead_code, reason = "not every binary of the tests fails")]
pub fn says(failure: &Failure, words: &[&str]) {
    let text = failure.to_string();
    for words in words {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
}
