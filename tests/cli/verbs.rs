//! Each verb on a host that does what it is asked.

use super::{Ended, Place, reslot};
use serde_json::Value;
use std::fs;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn slots_are_listed_steered_and_explained() {
    let place = Place::new();
    let listed = place.reslot(&["list"]).done();
    assert!(
        listed.contains("probe") && listed.contains("probation") && listed.contains("SLOT"),
        "{listed}"
    );
    assert!(listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    assert!(place.reslot(&["confirm", "probe"]).done().contains("good"));

    let path = place.publish(2);
    assert!(
        place
            .reslot(&["reload", path.to_str().unwrap()])
            .done()
            .contains("generation 2")
    );
    assert!(place.reslot(&["reload", "probe"]).done().contains("nothing was loaded"));
    let overview = json(&place.reslot(&["list", "--json"]).done());
    assert_eq!(overview["slots"][0]["generation"], 2);
    assert_eq!(overview["reloads"][0]["outcome"], "swapped");

    let held = place.reslot(&["who-holds"]).done();
    assert!(held.contains("stands by") && held.contains("the slot itself"), "{held}");
    assert_eq!(
        json(&place.reslot(&["who-holds", "probe", "--json"]).done())["probe"][1]["generation"],
        2
    );

    assert!(place.reslot(&["why-not", "probe"]).done().contains("serves"));
    let back = json(&place.reslot(&["rollback", "probe", "--json"]).done());
    assert_eq!(back["generation"], 1);
    let why = place.reslot(&["why-not", path.to_str().unwrap()]).done();
    assert!(why.contains("does not serve") && why.contains("what to do"), "{why}");
    assert_eq!(json(&place.reslot(&["why-not", "probe", "--json"]).done())["serves"], true);

    let history = place.reslot(&["history", "probe"]).done();
    assert!(history.contains("condemned") && history.contains("confirmed"), "{history}");
    let history = json(&place.reslot(&["history", "probe", "--json"]).done());
    assert_eq!(history[0]["condition"], "condemned");
    let hash = history[0]["hash"].as_str().unwrap();
    assert!(
        place
            .reslot(&["rollback", "probe", &hash[..6]])
            .failed(1)
            .contains("begin with")
    );
}

#[test]
fn events_are_told_for_people_and_for_scripts() {
    let place = Place::new();
    let told = place.reslot(&["events"]).done();
    assert!(
        told.contains("generation 1 is loaded") && !told.contains("went from loading"),
        "{told}"
    );
    assert!(place.reslot(&["events", "--all"]).done().contains("went from loading"));
    let told: Vec<Value> = place.reslot(&["events", "--json"]).done().lines().map(json).collect();
    let swapped = told.iter().find(|told| told["event"] == "swapped").unwrap();
    let since = (swapped["sequence"].as_u64().unwrap() + 1).to_string();
    assert!(
        !place
            .reslot(&["events", "--json", "--since", &since])
            .done()
            .contains("\"swapped\"")
    );
}

#[test]
fn artifacts_are_looked_into_without_a_host() {
    let place = Place::new();
    let (good, bad) = (place.publish(3), place.folder.publish("bad.so", b"no library"));
    let said = Ended::of(reslot().arg("inspect").arg(&good)).done();
    assert!(said.contains("accepted") && said.contains("probe"), "{said}");
    let ended = Ended::of(reslot().args(["inspect", "--json"]).arg(&bad));
    assert_eq!(json(&ended.out)["accepted"], false);
    ended.failed(1);
    assert!(
        Ended::of(reslot().args(["inspect", "/nowhere.so"]))
            .failed(2)
            .contains("/nowhere.so")
    );
}

#[test]
fn documents_name_every_verb_and_every_exit_code() {
    let help = Ended::of(reslot().arg("--help")).done();
    let man = Ended::of(reslot().arg("man")).done();
    for text in [&help, &man] {
        assert!(text.contains("Exit codes") && text.contains("permission denied"), "{text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(Ended::of(reslot().args(["completions", shell])).done().contains("who-holds"));
    }
    let folder = tempfile::tempdir().unwrap();
    Ended::of(reslot().arg("man").arg(folder.path())).done();
    assert!(
        fs::read_to_string(folder.path().join("reslot-who-holds.1"))
            .unwrap()
            .contains("reslot")
    );
}
