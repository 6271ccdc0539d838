//! Backtraces of panics inside plugins: they have the names of the generation that panicked, even if they are read later,
//! and cost little if they are not read.

use crate::support::{
    assert_nothing_left, host, wait_for, wait_for_refused, wait_for_retired, wait_for_swapped, wait_for_unmapped,
};
use fixture_interfaces::{Counter, Deed, Listener, Probe};
use reslot::{Backtrace, Event, Events, Frame, Origin};
use reslot_tests::{Fixture, Folder};

const DEEP: [&str; 4] = ["last_of_deep", "inlined_of_deep", "second_of_deep", "first_of_deep"];
const OTHERWISE: [&str; 4] = ["quattuor", "inlined_tria", "duo", "unum"];

/// The expected names: without debug information an inlined function has no name.
fn named(functions: [&'static str; 4]) -> Vec<&'static str> {
    let known = |name: &&str| cfg!(debug_assertions) || !name.contains("inlined");
    functions.into_iter().filter(known).collect()
}

/// The names of the functions in the plugin's own source that are among `known`, innermost first. With line numbers only, the
/// compiler writes an inlined function's name without its path.
fn functions(backtrace: &Backtrace) -> Vec<String> {
    let frames = backtrace.frames();
    let own = frames.iter().filter(|frame| frame.origin == Origin::Plugin);
    let names = own.filter_map(|frame| frame.function.as_deref()?.rsplit("::").next());
    let known = names.filter(|name| DEEP.contains(name) || OTHERWISE.contains(name));
    known.map(str::to_owned).collect()
}

fn frame<'a>(frames: &'a [Frame], function: &str) -> &'a Frame {
    let named = |frame: &&Frame| frame.function.as_deref().is_some_and(|name| name.ends_with(function));
    frames
        .iter()
        .find(named)
        .unwrap_or_else(|| panic!("{function} in {frames:#?}"))
}

fn call_failed(events: &mut Events, generation: u64) -> Backtrace {
    wait_for(events, |event| match event {
        Event::CallFailed {
            generation: of,
            backtrace,
            ..
        } if *of == generation => Some(backtrace.clone()),
        _ => None,
    })
}

#[test]
fn functions_and_lines_are_the_plugins_own() {
    let folder = Folder::new();
    folder.publish("libprobe.so", Fixture::build("fx-panics-deep").bytes());
    let host = host(&folder);
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let error = slot.load().fail("too deep").unwrap_err();
    let backtrace = error.backtrace().unwrap();
    assert_eq!(functions(backtrace), named(DEEP));
    let frames = backtrace.frames();
    if cfg!(debug_assertions) {
        let lines = DEEP.map(|function| frame(&frames, function).line);
        assert_eq!(lines, [29, 23, 18, 13].map(Some));
        for function in DEEP {
            let file = frame(&frames, function).file.as_deref().unwrap();
            assert!(file.ends_with("tests/fixtures/panics-deep/src/lib.rs"), "{file}");
        }
        let inlined = frame(&frames, "inlined_of_deep");
        let into = frame(&frames, "second_of_deep");
        assert!(inlined.inlined && !into.inlined, "{frames:#?}");
        assert_eq!(inlined.offset, into.offset);
        // The callers are in the host program, and this test is one of them.
        let caller = frame(&frames, "functions_and_lines_are_the_plugins_own");
        assert_eq!(caller.origin, Origin::Host);
    }

    let plain = error.to_string();
    assert_eq!(plain.lines().count(), 1, "{plain}");
    let long = format!("{error:#}");
    assert!(long.starts_with(&plain), "{long}");
    let first = long.lines().nth(1).unwrap();
    assert_eq!(first, "   0: fx_panics_deep::last_of_deep", "{long}");
    for hidden in ["panic_fmt", "panic_hook", "__rust_end_short_backtrace", "catch_unwind"] {
        assert!(!long.contains(hidden), "{hidden} in {long}");
    }
    let full = format!("{backtrace:#}");
    assert!(
        full.contains("panic_hook") && full.lines().count() > long.lines().count(),
        "{full}"
    );
}

/// Two builds in turn, so that each is mapped at the address of an earlier one. A backtrace that is read at any time has the
/// names of the build that panicked.
#[test]
fn names_are_those_of_the_generation_that_panicked() {
    let folder = Folder::new();
    let (deep, otherwise) = (Fixture::build("fx-panics-deep"), Fixture::build("fx-panics-otherwise"));
    folder.publish("libprobe.so", &deep.stamped(1));
    let host = host(&folder);
    let (mut events, mut from_events) = (host.events(), host.events());
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut kept = Vec::new();
    let mut first_addresses = Vec::new();
    let names = |generation| named(if generation % 2 == 1 { DEEP } else { OTHERWISE });
    const LAST: u64 = 24;
    for generation in 1..=LAST {
        let error = slot.load().fail("asked later").unwrap_err();
        if generation % 3 == 0 {
            assert_eq!(functions(error.backtrace().unwrap()), names(generation), "asked at once");
        }
        first_addresses.push(error.backtrace().unwrap().addresses()[0]);
        kept.push((generation, error));
        let next = if generation % 2 == 1 { &otherwise } else { &deep };
        folder.publish("libprobe.so", &next.stamped(generation + 1));
        wait_for_swapped(&mut events, "probe", generation + 1);
        wait_for_unmapped(&mut events, "probe", generation);
        let told = call_failed(&mut from_events, generation);
        assert_eq!(functions(&told), names(generation), "told by the event alone");
    }
    for (generation, error) in &kept {
        assert_eq!(
            functions(error.backtrace().unwrap()),
            names(*generation),
            "asked after the unload"
        );
    }
    for ((_, one), (_, other)) in kept.iter().zip(&kept[1..]) {
        assert_ne!(one.fault(), other.fault(), "other images, whatever their addresses");
    }
    let used: std::collections::HashSet<_> = first_addresses.iter().collect();
    assert!(
        used.len() < first_addresses.len(),
        "no address was used twice, so nothing was tried"
    );
    drop(kept);
    assert_nothing_left(&host, 1);
}

#[test]
fn panic_in_a_hook_has_its_backtrace() {
    let folder = Folder::new();
    folder.publish("libcounter.so", Fixture::build("fx-panics-in-start").bytes());
    let host = host(&folder);
    let mut events = host.events();
    let refusal = wait_for_refused(&mut events);
    wait_for_retired(&mut events, "counter", 1);
    let frames = refusal.backtrace().unwrap().frames();
    assert!(frames.iter().any(|frame| frame.origin == Origin::Plugin), "{frames:#?}");
    if cfg!(debug_assertions) {
        let start = frame(&frames, "::start");
        assert_eq!(start.origin, Origin::Plugin);
        assert!(start.file.as_deref().unwrap().ends_with("panics-in-start/src/lib.rs"));
    }
    assert!(!refusal.to_string().contains("0: "), "{refusal}");
    assert!(format!("{refusal:#}").contains("   0: "), "{refusal:#}");
}

#[test]
fn panic_on_a_plugins_own_thread_has_its_backtrace() {
    let folder = Folder::new();
    folder.publish("libprobe.so", Fixture::build("fx-panics-deep").bytes());
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    assert_eq!(slot.load().act(Deed::SpawnJoin).unwrap(), 0);
    let backtrace = wait_for(&mut events, |event| match event {
        Event::ThreadPanicked { backtrace, .. } => Some(backtrace.clone()),
        _ => None,
    });
    drop(slot);
    folder.publish("libprobe.so", Fixture::build("fx-panics-otherwise").bytes());
    wait_for_unmapped(&mut events, "probe", 1);
    assert_eq!(functions(&backtrace), named(DEEP));
    let last = backtrace.to_string();
    assert!(!last.contains("thread_start") && !last.contains("catch_unwind"), "{last}");
}

/// A plugin calls the host back, and the host calls another plugin, which panics: both are on the stack.
#[test]
fn panic_below_a_callback_names_both_plugins() {
    struct Relay<'a>(&'a reslot::Slot<dyn Probe>, Option<Backtrace>);
    impl Listener for Relay<'_> {
        fn hear(&mut self, n: u64) -> u64 {
            let error = self.0.load().fail("below a callback").unwrap_err();
            self.1 = error.backtrace().cloned();
            n
        }
    }
    let folder = Folder::new();
    folder.publish("libprobe.so", &Fixture::build("fx-panics-deep").stamped(1));
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(1));
    let host = host(&folder);
    let mut events = host.events();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let mut claim = host.claim::<dyn Counter>("counter").unwrap();
    let mut relay = Relay(&slot, None);
    claim.tell(&mut relay).unwrap();
    let backtrace = relay.1.unwrap();
    // Both images are unmapped before the backtrace is read, the outer one first.
    drop(claim);
    folder.publish("libcounter.so", &Fixture::build("fx-counter").stamped(2));
    wait_for_unmapped(&mut events, "counter", 1);
    folder.publish("libprobe.so", &Fixture::build("fx-panics-otherwise").stamped(2));
    wait_for_unmapped(&mut events, "probe", 1);
    assert_eq!(functions(&backtrace), named(DEEP));
    let frames = backtrace.frames();
    let outer: Vec<&Frame> = frames.iter().filter(|frame| frame.origin == Origin::OtherPlugin).collect();
    assert!(
        !outer.is_empty() && outer.iter().all(|frame| &*frame.module == "counter"),
        "{frames:#?}"
    );
    if cfg!(debug_assertions) {
        let is_tell = |name: &str| name.starts_with("<fx_counter::") && name.ends_with("::tell");
        let tell = outer.iter().find(|frame| frame.function.as_deref().is_some_and(is_tell));
        assert!(tell.is_some(), "{outer:#?}");
        assert_eq!(frame(&frames, "::hear").origin, Origin::Host);
        let words = backtrace.to_string();
        assert!(words.contains("-- called by the plugin \"counter\" --"), "{words}");
    }
}

#[test]
fn stripped_artifact_shows_where_and_says_why() {
    let folder = Folder::new();
    folder.publish("libprobe.so", Fixture::build("fx-stripped").bytes());
    let host = host(&folder);
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let error = slot.load().fail("who knows").unwrap_err();
    let backtrace = error.backtrace().unwrap();
    let frames = backtrace.frames();
    let own: Vec<&Frame> = frames.iter().filter(|frame| frame.origin == Origin::Plugin).collect();
    assert!(own.len() >= 4, "{frames:#?}");
    for frame in own {
        assert!(
            frame.function.is_none() && &*frame.module == "probe" && frame.offset > 0,
            "{frame:?}"
        );
    }
    let words = backtrace.to_string();
    assert!(words.contains("probe + 0x") && words.contains("stripped"), "{words}");
}
