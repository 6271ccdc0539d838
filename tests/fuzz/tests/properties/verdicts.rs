//! The verdict of `compare` about two interfaces, of which one was made from the other, against what calls between them do.

use proptest::prelude::*;
use reslot::artifact::{Difference, compare};
use reslot_fuzz::{Case, Edit, fits};
use std::collections::BTreeSet;

fn cases(times: u32) -> ProptestConfig {
    ProptestConfig {
        cases: times * ProptestConfig::default().cases,
        ..ProptestConfig::default()
    }
}

/// What one edit alone is refused for, if it is refused. None is listed where the edit is allowed. Not here is what may come
/// together with another difference: a method that moves, and what is nested.
fn reasons(edit: Edit) -> Option<&'static [&'static str]> {
    Some(match edit {
        Edit::AddWithSince => &["not shared"],
        Edit::RenameInterface => &["name"],
        Edit::Major => &["major"],
        Edit::Minor | Edit::RenameArgument => &[],
        Edit::Receiver => &["signature", "not shared"],
        Edit::AddArgument | Edit::RemoveArgument => &["signature"],
        _ => return None,
    })
}

fn word(difference: &Difference) -> &'static str {
    match difference {
        Difference::Name { .. } => "name",
        Difference::Major { .. } => "major",
        Difference::NotShared { .. } => "not shared",
        Difference::Signature { .. } => "signature",
        _ => "other",
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn verdict_of_compare_is_what_calls_would_do(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        reslot_fuzz::compare(&bytes);
    }

    /// A refusal after one edit is for that edit, at its place.
    #[test]
    fn refusal_names_what_was_changed(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let case = arbitrary::Arbitrary::arbitrary_take_rest(arbitrary::Unstructured::new(&bytes));
        let Ok(Case { host, plugin, edits }) = case else { return Ok(()) };
        let [edit] = edits[..] else { return Ok(()) };
        let Some(reasons) = reasons(edit) else { return Ok(()) };
        // Of two methods with one name, which no trait has, nobody can say which was meant.
        let names: BTreeSet<&String> = host.methods.iter().map(|method| &method.name).collect();
        if names.len() < host.methods.len() {
            return Ok(());
        }
        match compare(&host, &plugin) {
            Ok(()) => prop_assert!(fits(&host, &plugin)),
            // An interface that a trait cannot make is refused for more than the edit.
            Err(_) if compare(&host, &host).is_err() => {}
            Err(differences) => for difference in differences {
                let why = word(&difference);
                prop_assert!(reasons.contains(&why), "{:?} was refused for {:?}: {}", edit, why, difference);
            }
        }
    }
}
