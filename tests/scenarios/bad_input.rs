//! Bad input: each file here is refused with one message that names the file, the step, the cause, and what to do. The
//! current generation keeps its state, and nothing of the bad artifact stays mapped or on disk.

mod imports;

use crate::support::{PATIENCE, assert_nothing_left, host, wait_for, wait_for_refused, wait_for_staged, wait_for_swapped};
use fixture_interfaces::{Counter, Probe, SharedCounter};
use reslot::{
    Claim, Event, Events, Host, LoadOutcome, Policy, Refusal, SlotError, Step, SyncOutcome, WatchedFolder, mapped_copies,
};
use reslot_tests::{Fixture, Folder};
use std::path::Path;

/// A file that must be refused, and the expected message.
struct Bad {
    bytes: Vec<u8>,
    step: Step,
    /// Texts of the cause and of the remedy.
    words: &'static [&'static str],
}

impl Bad {
    fn bytes(bytes: impl Into<Vec<u8>>, words: &'static [&'static str]) -> Self {
        let (bytes, step) = (bytes.into(), Step::Lint);
        Self { bytes, step, words }
    }

    fn fixture(package: &str, step: Step, words: &'static [&'static str]) -> Self {
        let bytes = Fixture::build(package).bytes().to_vec();
        Self { bytes, step, words }
    }

    /// A good counter with one change to its bytes.
    fn patched(patch: impl FnOnce(&mut Vec<u8>), words: &'static [&'static str]) -> Self {
        let mut bytes = good(9);
        patch(&mut bytes);
        Self::bytes(bytes, words)
    }

    fn assert_reported(&self, text: &str) {
        let step = format!("refused at {}: ", self.step);
        let always = [&*step, "  file: ", "libcounter.so\n", "  what to do: "];
        for words in always.iter().chain(self.words) {
            assert!(text.contains(words), "{words:?} is not in:\n{text}");
        }
    }

    /// The file is always refused.
    fn is_never_taken(&self) {
        self.is_refused_first();
        self.is_refused_while_claimed();
        self.is_refused_while_open();
    }

    /// As the first artifact of a slot: the error for the slot says why it does not exist, and a good build is loaded
    /// afterwards.
    fn is_refused_first(&self) {
        let folder = Folder::new();
        folder.publish("libcounter.so", &self.bytes);
        let host = host(&folder);
        let mut events = host.events();
        let error = host.claim::<dyn Counter>("counter").expect_err("nothing good is there");
        assert!(matches!(&error, SlotError::Unknown { name, known, refusals, .. }
            if name == "counter" && known.is_empty() && refusals.len() == 1));
        self.assert_reported(&error.to_string());
        assert!(!error.to_string().contains("keeps serving"), "{error}");
        self.assert_reported(&wait_for_refused(&mut events).to_string());
        assert_nothing_left(&host, 0);
        folder.publish("libcounter.so", &good(1));
        wait_for(&mut events, |event| match event {
            Event::Refused(refusal) => panic!("told twice: {refusal}"),
            Event::Swapped(report) if &*report.slot == "counter" && report.replaced.is_none() => Some(()),
            _ => None,
        });
        assert_eq!(host.claim::<dyn Counter>("counter").unwrap().add(1).unwrap(), 1);
        assert_nothing_left(&host, 1);
    }

    /// As an update of a counter that has an owner.
    fn is_refused_while_claimed(&self) {
        let mut serving = Serving::new();
        let mut claim = serving.host.claim::<dyn Counter>("counter").unwrap();
        serving.folder.publish("libcounter.so", &self.bytes);
        if self.step >= Step::Migrate {
            // Its state is handed over only in the owner's `sync`.
            wait_for_staged(&mut serving.events, "counter", 2);
            assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
        }
        let refusal = wait_for_refused(&mut serving.events);
        self.assert_reported(&refusal.to_string());
        assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
        serving.assert_untouched(&refusal, &mut claim);
    }

    /// As an update of a counter without an owner.
    fn is_refused_while_open(&self) {
        let mut serving = Serving::new();
        serving.folder.publish("libcounter.so", &self.bytes);
        let refusal = wait_for_refused(&mut serving.events);
        self.assert_reported(&refusal.to_string());
        let mut claim = serving.host.claim::<dyn Counter>("counter").unwrap();
        serving.assert_untouched(&refusal, &mut claim);
    }
}

/// A loaded counter with the total 5. It was claimed before, so its interface is fixed.
struct Serving {
    folder: Folder,
    host: Host,
    events: Events,
}

impl Serving {
    fn new() -> Self {
        let folder = Folder::new();
        folder.publish("libcounter.so", &good(1));
        let host = host(&folder);
        let events = host.events();
        assert_eq!(host.claim::<dyn Counter>("counter").unwrap().add(5).unwrap(), 5);
        Self { folder, host, events }
    }

    /// There was one refusal, and the counter is unchanged.
    fn assert_untouched(&mut self, refusal: &Refusal, claim: &mut Claim<dyn Counter>) {
        assert_eq!(refusal.path, self.folder.path().join("libcounter.so"));
        assert_eq!((refusal.slot.as_deref(), refusal.serving), (Some("counter"), Some(1)));
        assert!(refusal.to_string().ends_with("generation 1 keeps serving"), "{refusal}");
        // Loading the current content again makes the reload thread process its queue, so all earlier events have been
        // reported.
        let elsewhere = Folder::new();
        let same = elsewhere.publish("libcounter.so", &good(1));
        assert!(matches!(
            self.host.load(same),
            Ok(LoadOutcome::Unchanged { generation: 1, .. })
        ));
        let told = std::iter::from_fn(|| self.events.try_recv());
        let again: Vec<_> = told
            .filter(|record| matches!(record.event, Event::Refused(_) | Event::Swapped(_)))
            .collect();
        assert!(again.is_empty(), "{again:#?}");
        let report = claim.report().unwrap();
        assert_eq!((report.total, report.stamp, report.calls), (5, 1, 1));
        assert_eq!((Claim::generation(claim), Claim::has_staged(claim)), (Some(1), false));
        assert_nothing_left(&self.host, 1);
    }
}

fn good(stamp: u64) -> Vec<u8> {
    Fixture::build("fx-counter").stamped(stamp)
}

/// Replaces the first occurrence of a text by one of the same length.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.expect("the text is in the artifact");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn text_is_not_a_library() {
    let words = &["not an ELF file", "it looks like", "crate-type = [\"cdylib\"]"];
    Bad::bytes("#!/bin/sh\necho I am no library\n", words).is_never_taken();
}

#[test]
fn empty_file_is_refused() {
    Bad::bytes([], &["the file is empty", "wait for the build or the copy to finish"]).is_never_taken();
}

#[test]
fn garbage_and_truncated_file() {
    let mut serving = Serving::new();
    for garbage in [&b"#!/bin/sh\n"[..], &[0; 100_000], &[0xff; 100_000]] {
        serving.folder.publish("libcounter.so", garbage);
        let told = wait_for_refused(&mut serving.events).to_string();
        assert!(
            told.contains("refused at lint: ") && told.contains("not an ELF file"),
            "{told}"
        );
    }
    let whole = good(2);
    let sections = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
    let inside = [
        1,
        4,
        17,
        63,
        64,
        100,
        500,
        2_000,
        sections - 1,
        sections,
        sections + 70,
        whole.len() - 1,
    ];
    let spread = (1..=8).map(|eighth| whole.len() * eighth / 9);
    let places: Vec<usize> = inside.into_iter().chain(spread).collect();
    assert_eq!(places.len(), 20);
    for place in places {
        serving.folder.publish("libcounter.so", &whole[..place]);
        let told = wait_for_refused(&mut serving.events).to_string();
        let has = format!("needs it to have {{}} bytes, it has {place}\n");
        let (needs, has) = has.split_once("{}").unwrap();
        for words in [
            "refused at lint: the file is incomplete: ",
            needs,
            has,
            "wait for the build or the copy to finish",
        ] {
            assert!(told.contains(words), "{place}: {words:?} is not in:\n{told}");
        }
    }
    let mut claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!((claim.report().unwrap().total, Claim::generation(&claim)), (5, Some(1)));
    assert_nothing_left(&serving.host, 1);
    // The complete file is still accepted.
    serving.folder.publish("libcounter.so", &whole);
    wait_for_staged(&mut serving.events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 2 });
    assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (5, 2));
}

#[test]
fn other_architecture_is_refused() {
    let other = if cfg!(target_arch = "x86_64") { 183_u16 } else { 62 };
    Bad::patched(
        |bytes| bytes[18..20].copy_from_slice(&other.to_ne_bytes()),
        &["built for ", "this host is ", "--target set to the host's target"],
    )
    .is_never_taken();
}

#[test]
fn other_word_size_is_refused() {
    Bad::patched(
        |bytes| bytes[4] = 1,
        &["a 32-bit ELF file, this host needs", "--target set to the host's"],
    )
    .is_never_taken();
}

#[test]
fn library_without_manifest_is_refused() {
    let words = &["no section `.reslot.manifest`", "not a Reslot plugin", "call export_plugin!"];
    Bad::fixture("fx-no-manifest", Step::Lint, words).is_never_taken();
}

#[test]
fn other_toolchain_is_refused() {
    Bad::patched(
        |bytes| replace(bytes, "\"toolchain\":\"rustc 1.", "\"toolchain\":\"rustc 9."),
        &["built by rustc 9.", "this host was built by rustc 1.", "rust-toolchain.toml"],
    )
    .is_never_taken();
}

#[test]
fn other_api_version_is_refused() {
    Bad::patched(
        |bytes| replace(bytes, "\"api\":\"0.", "\"api\":\"7."),
        &[
            "built with reslot-plugin-api 7.",
            "this host has 0.",
            "in the plugin's Cargo.toml",
        ],
    )
    .is_never_taken();
}

#[test]
fn damaged_manifest_is_refused() {
    Bad::patched(
        |bytes| replace(bytes, "{\"reslot\":3,", "{\"reslot\"?3,"),
        &[
            "`.reslot.manifest` is not usable",
            "not readable JSON",
            "build the plugin again",
        ],
    )
    .is_never_taken();
}

#[test]
fn wrong_protocol_version() {
    Bad::patched(
        |bytes| replace(bytes, "{\"reslot\":3,", "{\"reslot\":4,"),
        &[
            "manifest format 4, this host reads format 3",
            "the version of reslot-plugin-api that belongs to this host",
        ],
    )
    .is_never_taken();
}

/// What the loader is asked for is looked at when it is mapped. Static constructors have run by then, so that the image stays.
#[test]
fn root_that_does_not_begin_as_ours_is_refused_and_its_image_stays() {
    const MARK: &[u8] = b"reslot header 2\0";
    let folder = Folder::new();
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    host.load(folder.publish("a.so", &good(1))).unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let mut bytes = good(2);
    let places: Vec<_> = (0..bytes.len() - MARK.len())
        .filter(|at| bytes[*at..].starts_with(MARK))
        .collect();
    assert!(!places.is_empty());
    places.iter().for_each(|at| bytes[at + 1] = b'u');
    let refusal = host.load(folder.publish("b.so", &bytes)).unwrap_err();
    assert_eq!((refusal.step, refusal.serving), (Step::Verify, Some(1)), "{refusal}");
    assert!(
        refusal.to_string().contains("it does not begin with Reslot's mark"),
        "{refusal}"
    );
    assert_eq!(claim.add(1).unwrap(), 1);
    assert_eq!((host.images().mapped, host.images().quarantined), (2, 1));
    assert_eq!(mapped_copies(host.private_folder()), 2);
    // Built with other sources of the SDK, it is compared as a whole, and fits.
    let mut bytes = good(3);
    places.iter().for_each(|at| bytes[at + MARK.len()] ^= 1);
    host.load(folder.publish("c.so", &bytes)).unwrap();
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 3 });
    assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (1, 3));
}

/// An artifact with another interface than the caller's: before the slot's interface is fixed, the claim is refused.
fn interface_is_refused(package: &str, words: &'static [&'static str]) {
    let bad = Bad::fixture(package, Step::Lint, words);
    bad.is_refused_while_claimed();
    bad.is_refused_while_open();

    let folder = Folder::new();
    folder.publish("libcounter.so", &bad.bytes);
    let host = host(&folder);
    let mut events = host.events();
    let error = host.claim::<dyn Counter>("counter").unwrap_err();
    assert!(matches!(&error, SlotError::Interface { name, differences } if name == "counter" && !differences.is_empty()));
    let text = error.to_string();
    assert!(text.contains(words[0]), "{text}");
    assert!(
        text.contains("what to do: rebuild the plugin against the host's interface crate"),
        "{text}"
    );
    assert!(!host.slots()[0].claimed);
    folder.publish("libcounter.so", &good(1));
    wait_for_swapped(&mut events, "counter", 2);
    assert_eq!(host.claim::<dyn Counter>("counter").unwrap().add(1).unwrap(), 1);
    assert_nothing_left(&host, 1);
}

#[test]
fn changed_method_is_refused_with_both_signatures() {
    interface_is_refused(
        "fx-changed-method",
        &[
            "fn add(&mut self, n: u32)",
            "fn add(&mut self, n: u64)",
            "against the host's interface crate",
        ],
    );
}

#[test]
fn changed_field_is_refused_with_both_types() {
    interface_is_refused(
        "fx-changed-type",
        &["`calls`", "Report", "u32", "u64", "against the host's interface crate"],
    );
}

#[test]
fn newer_major_version_is_refused() {
    interface_is_refused(
        "fx-newer-major",
        &["plugin was built for Counter 2.0, this host has 1.0", "upgrade the host"],
    );
}

#[test]
fn panic_in_the_constructor_is_refused() {
    let words = &[
        "its constructor failed",
        "no configuration to begin with",
        "panics-in-constructor/src/lib.rs:",
        "fix the plugin",
    ];
    Bad::fixture("fx-panics-in-constructor", Step::Create, words).is_never_taken();
}

#[test]
fn err_from_start_is_refused() {
    let words = &["its `start` failed", "port 4711 is taken, says counter", "fix the plugin"];
    Bad::fixture("fx-refuses-start", Step::Start, words).is_never_taken();
}

#[test]
fn panic_in_start_is_refused() {
    let words = &[
        "its `start` failed",
        "the sensor is not there",
        "panics-in-start/src/lib.rs:",
        "fix the plugin",
    ];
    Bad::fixture("fx-panics-in-start", Step::Start, words).is_never_taken();
}

#[test]
fn state_that_does_not_fit_is_refused() {
    let words = &[
        "the current generation's state does not fit it",
        "missing field `currency`",
        "#[serde(default)]",
    ];
    let bad = Bad::fixture("fx-other-state", Step::Migrate, words);
    bad.is_refused_while_claimed();
    bad.is_refused_while_open();
}

#[test]
fn state_of_a_shared_slot_that_does_not_fit_is_refused() {
    let (folder, counter) = (Folder::new(), Fixture::build("fx-shared-counter"));
    folder.publish("libcounter.so", &counter.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let mut reader = host.reader();
    assert_eq!(reader.view().get(&slot).add(5).unwrap(), 5);
    folder.publish("libcounter.so", Fixture::build("fx-other-shared-state").bytes());
    let text = wait_for_refused(&mut events).to_string();
    for words in [
        "slot \"shared-counter\": generation 2 was refused at migrate",
        "does not fit it",
        "generation 1 keeps serving",
    ] {
        assert!(text.contains(words), "{text}");
    }
    // The gate is open again after the failed hand-over, for old and for new views.
    assert_eq!(reader.view().get(&slot).add(1).unwrap(), 6);
    assert_eq!(slot.load().add(1).unwrap(), 7);
    assert_eq!(reader.view().generation(&slot), Some(1));
    assert_nothing_left(&host, 1);
    folder.publish("libcounter.so", &counter.stamped(3));
    wait_for_swapped(&mut events, "shared-counter", 3);
    assert_eq!(slot.load().add(1).unwrap(), 8);
}

#[test]
fn state_that_cannot_be_encoded_is_reported_as_the_current_generations_fault() {
    let folder = Folder::new();
    folder.publish("libcounter.so", Fixture::build("fx-unsnapshotable").bytes());
    let host = host(&folder);
    let mut events = host.events();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(5).unwrap(), 5);
    folder.publish("libcounter.so", &good(2));
    wait_for_staged(&mut events, "counter", 2);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Refused { serving: Some(1) });
    let text = wait_for_refused(&mut events).to_string();
    for words in [
        "the current generation's state could not be encoded",
        "nobody's business",
        "generation 1 keeps serving",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(
        text.contains("what to do: no build of this plugin can get the state"),
        "{text}"
    );
    assert_eq!(claim.add(1).unwrap(), 6);
    assert_nothing_left(&host, 1);
    // The new file was not the cause, so the refusal is not remembered.
    folder.publish("libcounter.so", &good(2));
    wait_for_staged(&mut events, "counter", 3);
}

#[test]
fn stateless_shared_plugin_whose_start_fails_is_refused() {
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    folder.publish("libprobe.so", &probe.stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    folder.publish("libprobe.so", Fixture::build("fx-probe-refuses-start").bytes());
    let text = wait_for_refused(&mut events).to_string();
    for words in [
        "slot \"probe\": generation 2 was refused at start",
        "no licence was found",
        "generation 1 keeps serving",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(slot.load().stamp().unwrap(), 1);
    assert_nothing_left(&host, 1);
}

#[test]
fn same_bad_file_is_not_tried_in_a_loop_but_when_asked() {
    let mut serving = Serving::new();
    let bad = Fixture::build("fx-panics-in-constructor");
    let path = serving.folder.publish("libcounter.so", bad.bytes());
    wait_for_refused(&mut serving.events);
    for _ in 0..3 {
        serving.folder.publish("libcounter.so", bad.bytes());
        let still = wait_for(&mut serving.events, |event| match event {
            Event::Refused(refusal) => panic!("tried again: {refusal}"),
            Event::StillRefused { path, .. } => Some(path.clone()),
            _ => None,
        });
        assert_eq!(still, path);
    }
    let refusal = serving.host.load(&path).unwrap_err();
    assert_eq!(
        (refusal.step, refusal.candidate, refusal.serving),
        (Step::Create, Some(3), Some(1))
    );
    wait_for_refused(&mut serving.events);
    assert_nothing_left(&serving.host, 1);
    assert_eq!(serving.host.slots()[0].generation, Some(1));
}

#[test]
fn file_that_does_not_exist_is_refused() {
    let serving = Serving::new();
    let refusal = serving.host.load(serving.folder.path().join("nothing.so")).unwrap_err();
    let text = refusal.to_string();
    assert_eq!(refusal.step, Step::Read);
    assert!(
        text.contains("nothing.so") && text.contains("name a file that exists") && text.contains("what to do: "),
        "{text}"
    );
}

#[test]
fn folder_in_place_of_a_file_is_refused() {
    let serving = Serving::new();
    let text = serving.host.load(serving.folder.path()).unwrap_err().to_string();
    assert!(text.contains("is not a regular file"), "{text}");
}

#[test]
fn wrong_interface_is_refused_readably() {
    let serving = Serving::new();
    let error = serving.host.claim::<dyn Probe>("counter").unwrap_err();
    assert!(matches!(&error, SlotError::Interface { name, .. } if name == "counter"));
    let text = error.to_string();
    assert!(
        text.contains("the plugin implements interface `Counter`, this host expects `Probe`"),
        "{text}"
    );
    let error = serving.host.slot::<dyn SharedCounter>("counter").unwrap_err();
    assert!(matches!(error, SlotError::Interface { .. }));
    // The refused artifact has not fixed an interface or left a claim.
    let mut claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!(claim.add(1).unwrap(), 6);
}

#[test]
fn name_that_no_slot_has_is_refused_with_those_there_are() {
    let serving = Serving::new();
    let error = serving.host.claim::<dyn Counter>("caunter").unwrap_err();
    assert!(
        error.to_string().starts_with("no slot \"caunter\": there are counter; build"),
        "{error}"
    );
    assert!(serving.host.slot::<dyn Probe>("").is_err());
    let empty = Host::builder().policy(Policy::without_probation()).build().unwrap();
    let error = empty.claim::<dyn Counter>("counter").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("nothing is loaded; load a plugin whose package has this name (`Host::load`)"),
        "{error}"
    );
}

#[test]
fn missing_slot_is_reported_with_the_folder_and_a_remedy() {
    let folder = Folder::new();
    let watching = |path: &Path| {
        let builder = Host::builder().policy(Policy::without_probation());
        builder.watch(path).build().unwrap()
    };
    let said = |host: &Host| host.claim::<dyn Counter>("conter").unwrap_err();
    let absent = folder.path().join("absent");

    let error = said(&Host::builder().build().unwrap());
    assert!(
        matches!(
            &error,
            SlotError::Unknown {
                folder: WatchedFolder::NotWatched,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("watched folder: none"), "{error}");

    let error = said(&watching(&absent));
    assert!(
        matches!(&error, SlotError::Unknown { folder: WatchedFolder::Missing { path }, .. } if *path == absent),
        "{error:?}"
    );
    assert!(error.to_string().contains("absent does not exist"), "{error}");

    let host = watching(folder.path());
    let error = said(&host);
    let place = folder.path().display();
    assert_eq!(
        error.to_string(),
        format!(
            "no slot \"conter\": nothing is loaded; build a plugin whose package has this name, and publish it in {place}\n  \
             watched folder: {place} has no artifact"
        )
    );

    let mut events = host.events();
    let path = folder.publish("libcounter.so", &good(1));
    wait_for_swapped(&mut events, "counter", 1);
    let error = said(&host);
    assert!(
        matches!(&error, SlotError::Unknown { folder: WatchedFolder::Found { artifacts, .. }, .. } if **artifacts == [path]),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "no slot \"conter\": there are counter; build a plugin whose package has this name, and publish it in {place}\n  \
             similar name: counter\n  watched folder: {place} has libcounter.so"
        )
    );
    let error = host.claim::<dyn Counter>("something-else").unwrap_err();
    assert!(!error.to_string().contains("similar"), "{error}");
}

#[test]
fn refusal_that_was_mended_is_not_reported_again() {
    let mut serving = Serving::new();
    let path = serving.folder.publish("libother.so", b"not yet");
    wait_for_refused(&mut serving.events);
    let error = serving.host.claim::<dyn Probe>("probe").unwrap_err();
    assert!(
        error.to_string().contains("libother.so") && error.to_string().contains("not an ELF file"),
        "{error}"
    );
    serving.folder.publish("libother.so", &Fixture::build("fx-probe").stamped(1));
    wait_for_swapped(&mut serving.events, "probe", 1);
    let error = serving.host.claim::<dyn Counter>("third").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no slot \"third\": there are counter, probe; build"),
        "{error}"
    );
    assert!(serving.host.slots().iter().any(|slot| slot.path.as_ref() == Some(&path)));
}

#[test]
fn slot_has_one_owner_at_a_time() {
    let serving = Serving::new();
    let claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    let error = serving.host.claim::<dyn Counter>("counter").unwrap_err();
    assert!(matches!(error, SlotError::Claimed { .. }));
    assert!(error.to_string().contains("drop that claim first"), "{error}");
    drop(claim);
    assert_eq!(serving.host.claim::<dyn Counter>("counter").unwrap().add(1).unwrap(), 6);
}

#[test]
fn slot_is_either_claimed_or_shared() {
    let folder = Folder::new();
    folder.publish("libcounter.so", &Fixture::build("fx-shared-counter").stamped(1));
    let host = host(&folder);
    let slot = host.slot::<dyn SharedCounter>("shared-counter").unwrap();
    let second = slot.clone();
    drop(slot);
    let error = host.claim::<dyn SharedCounter>("shared-counter").unwrap_err();
    assert!(matches!(error, SlotError::Shared { handles: 1, .. }));
    assert!(
        error.to_string().contains("1 `Slot` handle(s) exist, drop them first"),
        "{error}"
    );
    assert_eq!(second.load().add(2).unwrap(), 2);
    drop(second);
    let mut claim = host.claim::<dyn SharedCounter>("shared-counter").unwrap();
    assert!(matches!(
        host.slot::<dyn SharedCounter>("shared-counter"),
        Err(SlotError::Claimed { .. })
    ));
    assert_eq!(claim.add(2).unwrap(), 4);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Unchanged);
}

#[test]
fn newer_candidate_supersedes_one_that_was_not_adopted() {
    let mut serving = Serving::new();
    let mut claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    serving.folder.publish("libcounter.so", &good(2));
    wait_for_staged(&mut serving.events, "counter", 2);
    // A bad candidate that was superseded in time is never tried.
    serving
        .folder
        .publish("libcounter.so", Fixture::build("fx-refuses-start").bytes());
    wait_for_staged(&mut serving.events, "counter", 3);
    serving.folder.publish("libcounter.so", &good(4));
    wait_for_staged(&mut serving.events, "counter", 4);
    assert_eq!(Claim::sync(&mut claim), SyncOutcome::Adopted { generation: 4 });
    assert_eq!((claim.report().unwrap().total, claim.report().unwrap().stamp), (5, 4));
    assert!(serving.host.wait_until_retired(PATIENCE));
    assert_nothing_left(&serving.host, 1);
}

#[test]
fn claim_that_is_dropped_lets_a_bad_candidate_be_refused_and_a_good_one_serve() {
    let mut serving = Serving::new();
    let claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    serving
        .folder
        .publish("libcounter.so", Fixture::build("fx-refuses-start").bytes());
    wait_for_staged(&mut serving.events, "counter", 2);
    drop(claim);
    assert!(wait_for_refused(&mut serving.events).to_string().contains("port 4711"));
    let claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!((Claim::generation(&claim), claim.report().unwrap().total), (Some(1), 5));
    serving.folder.publish("libcounter.so", &good(3));
    wait_for_staged(&mut serving.events, "counter", 3);
    drop(claim);
    wait_for_swapped(&mut serving.events, "counter", 3);
    let claim = serving.host.claim::<dyn Counter>("counter").unwrap();
    assert_eq!((Claim::generation(&claim), claim.report().unwrap().total), (Some(3), 5));
    assert_nothing_left(&serving.host, 1);
}
