//! Each verb, with a host that obeys.

use super::{
    Ended, Place,
    image::{Image, Place as At},
    reslot,
    support::{copies, wait_for, wait_for_unmapped},
};
use fixture_interfaces::Probe;
use reslot::{Claim, Event, SyncOutcome};
use reslot_tests::Fixture;
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
    assert!(place.reslot(&["confirm", "probe"]).done().contains("is confirmed"));

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
    assert!(held.contains("is the standby") && held.contains("the slot itself"), "{held}");
    assert_eq!(
        json(&place.reslot(&["who-holds", "probe", "--json"]).done())["probe"][1]["generation"],
        2
    );

    assert!(place.reslot(&["why-not", "probe"]).done().contains("serves"));
    let back = json(&place.reslot(&["rollback", "probe", "--json"]).done());
    assert_eq!(back["generation"], 1);
    let why = place.reslot(&["why-not", path.to_str().unwrap()]).done();
    assert!(why.contains("not current") && why.contains("what to do"), "{why}");
    assert_eq!(json(&place.reslot(&["why-not", "probe", "--json"]).done())["serves"], true);

    let history = place.reslot(&["history", "probe"]).done();
    assert!(history.contains("known_bad") && history.contains("confirmed"), "{history}");
    let history = json(&place.reslot(&["history", "probe", "--json"]).done());
    assert_eq!(history[0]["condition"], "known_bad");
    let hash = history[0]["hash"].as_str().unwrap();
    assert!(
        place
            .reslot(&["rollback", "probe", &hash[..6]])
            .failed(1)
            .contains("no kept version begins with")
    );
}

#[test]
fn slot_is_unloaded_says_why_it_is_empty_and_is_loaded_again() {
    let place = Place::new();
    let said = place.reslot(&["unload", "probe"]).done();
    assert!(
        said.contains("generation 1 is unloaded; its image is proven unmapped"),
        "{said}"
    );
    assert!(place.reslot(&["unload", "probe"]).failed(4).contains("was unloaded"));
    assert!(place.reslot(&["unload", "nobody"]).failed(4).contains("no slot"));
    let listed = json(&place.reslot(&["list", "--json"]).done());
    assert_eq!(listed["slots"][0]["state"], "unloaded");
    assert_eq!(listed["mapped"], 0);
    let why = place.reslot(&["why-not", "probe"]).done();
    assert!(
        why.contains("it was unloaded") && why.contains("reslot reload probe"),
        "{why}"
    );
    let events = place.reslot(&["events"]).done();
    assert!(events.contains("generation 1 is unloaded, and the slot is empty"), "{events}");
    assert!(place.reslot(&["reload", "probe"]).done().contains("generation 2 is loaded"));
    let unloaded = json(&place.reslot(&["unload", "probe", "--json"]).done());
    assert!(
        unloaded["message"].as_str().unwrap().contains("generation 2 is unloaded"),
        "{unloaded}"
    );
}

#[test]
fn slot_of_an_owner_or_of_others_is_not_taken_from_them() {
    let place = Place::new();
    let counter = Fixture::build("fx-shared-counter").stamped(1);
    let path = place.folder.publish("counter.so", &counter);
    place.host.load(&path).unwrap();
    place
        .host
        .load(place.folder.publish("caller.so", &Fixture::build("fx-caller").stamped(1)))
        .unwrap();
    let used = place.reslot(&["unload", "shared-counter"]).failed(1);
    assert!(used.contains("because caller calls it") && used.contains("--force"), "{used}");
    let forced = place.reslot(&["unload", "shared-counter", "--force"]).done();
    assert!(forced.contains("bytes of state"), "{forced}");
    let mut claim = place.host.claim::<dyn Probe>("probe").unwrap();
    let staged = place.reslot(&["unload", "probe", "--force"]).done();
    assert!(staged.contains("in its next `sync`"), "{staged}");
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unloaded { generation: 1 });
}

#[test]
fn file_is_loaded_into_a_slot_of_any_name() {
    let place = Place::new();
    let path = place.publish(5);
    let path = path.to_str().unwrap();
    let said = place.reslot(&["reload", path, "--as", "probe-two"]).done();
    assert!(said.contains("probe-two: generation 1 is loaded"), "{said}");
    let listed = json(&place.reslot(&["list", "--json"]).done());
    assert_eq!(listed["slots"][1]["name"], "probe-two");
    assert_eq!(listed["slots"][1]["plugin"], "probe");
    assert_eq!(listed["slots"][0]["generation"], 1, "the other slot is left alone");
    // Now by the slot's own name.
    place.publish(6);
    assert!(place.reslot(&["reload", "probe-two"]).done().contains("replaced 1"));
    assert!(
        place
            .reslot(&["reload", "probe", "--as", "x"])
            .failed(2)
            .contains("--as needs a file")
    );
    assert!(
        place
            .reslot(&["reload", path, "--as", "no name"])
            .failed(1)
            .contains("is not a valid name of a slot")
    );
}

#[test]
fn events_are_printed_for_people_and_for_scripts() {
    let place = Place::new();
    let told = place.reslot(&["events"]).done();
    assert!(
        told.contains("generation 1 is loaded") && !told.contains("moved from loading"),
        "{told}"
    );
    assert!(place.reslot(&["events", "--all"]).done().contains("moved from loading"));
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
fn sources_are_made_and_built_without_a_host() {
    let place = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| Ended::of(reslot().current_dir(place.path()).args(arguments));
    assert!(
        run(&["new-project", "my-game"])
            .done()
            .contains("reslot build-plugin --watch")
    );
    let manifest = fs::read_to_string(place.path().join("my-game/Cargo.toml")).unwrap();
    assert!(!manifest.contains("path = \"/"), "it gets Reslot by version: {manifest}");
    let again = run(&["new-project", "my-game"]).failed(1);
    assert!(
        again.contains("exists already") && again.contains("choose another folder"),
        "{again}"
    );
    for verb in [&["build-plugin"][..], &["new-plugin", "x", "--interface", "Greeter"]] {
        let nowhere = run(verb).failed(1);
        assert!(
            nowhere.contains("there is no workspace around") && nowhere.contains("reslot new-project DIR"),
            "{nowhere}"
        );
    }
    run(&["new-plugin", "x"]).failed(2);
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

#[test]
fn images_are_compared_and_the_exit_code_says_what_was_found() {
    let place = Place::new();
    let mut events = place.host.events();
    let verified = place.reslot(&["verify"]).done();
    assert!(verified.contains("COMPARED") && verified.contains("intact"), "{verified}");
    let images = json(&place.reslot(&["verify", "--json"]).done());
    assert_eq!(
        (&images[0]["slot"], &images[0]["condition"]),
        (&"probe".into(), &"intact".into())
    );
    assert!(
        images[0]["bytes"].as_u64().unwrap() > 10_000 && images[0]["more"] == 0,
        "{images}"
    );

    Image::only(&place.host, &Fixture::build("fx-probe").stamped(1)).flip(At::RELOCATED, 1);
    let damaged = place.reslot(&["verify"]);
    assert_eq!(damaged.code, Some(1), "{damaged:#?}");
    assert!(
        damaged.out.contains("damaged") && damaged.out.contains("probe 1: .init_array+0x0"),
        "{damaged:#?}"
    );
    wait_for(&mut events, |event| matches!(event, Event::ImageRenewed { .. }).then_some(()));
    wait_for_unmapped(&mut events, "probe", 1);
    let verified = place.reslot(&["verify"]).done();
    assert!(verified.contains("intact"), "the fresh image: {verified}");

    // An image that could not be compared is not verified.
    place.host.load(place.publish(2)).unwrap();
    place.host.confirm("probe").unwrap();
    wait_for_unmapped(&mut events, "probe", 2);
    place.publish(3);
    for copy in copies(place.host.private_folder()) {
        fs::remove_file(copy).unwrap();
    }
    let failed = place.reslot(&["verify"]);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    assert!(
        failed.out.contains("failed") && failed.out.contains("private copy cannot be read"),
        "{failed:#?}"
    );
    let images = place.reslot(&["verify", "--json"]);
    assert_eq!((images.code, &json(&images.out)[0]["condition"]), (Some(1), &"failed".into()));
}
