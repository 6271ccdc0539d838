//! Plugins that are linked into the program: the same slots, claims, views and peers serve them, and a file may replace one and be replaced
//! by it. A test binary of its own, because what it looks for in the process's memory would be there if another test had loaded it.
#![forbid(unsafe_code)]

mod plugins;

use desk_interfaces::{Intents, MarketEvent, Proposal, RiskModel, Side, Trader, What};
use fixture_interfaces::SharedCounter;
use plugins::{ASKER, Asks, BROKEN, END, LINGERING, Lingers, TALLY, Tally};
use reslot::{
    Cause, Claim, ContentHash, EngineKind, Event, Events, Fault, Hook, HookError, Host, HostBuilder, LoadOutcome, Outcome,
    Policy, RetireReport, RollbackTarget, SyncOutcome, mapped_copies,
};
use reslot_plugin_api::CallError;
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, Once, mpsc},
    thread,
    time::{Duration, Instant},
};
use xtask::{PluginBuild, Profile, Workspace};

const PATIENCE: Duration = Duration::from_secs(30);

/// A plugin of this repository that this program is linked with, as a file.
fn library(plugin: &str) -> Vec<u8> {
    let workspace = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("cargo knows it");
    let package = workspace.plugin(plugin).expect("it is a plugin");
    let built = PluginBuild::new(&workspace, package, Profile::of_this_program())
        .quiet()
        .build();
    fs::read(built.expect("it builds").library).expect("cargo named it")
}

fn builder() -> HostBuilder {
    Host::builder().policy(Policy::without_probation())
}

/// An event of the market, and what a trader wants done about it.
fn quote(number: u64, bid: u64) -> MarketEvent {
    MarketEvent {
        number,
        what: What::Quote,
        bid,
        ask: bid + 2,
        order: 0,
        side: Side::Buy,
        price: 0,
        quantity: 0,
        position: 0,
    }
}

#[derive(Default)]
struct Wanted(Vec<(Side, u64)>);

impl Intents for Wanted {
    fn place(&mut self, side: Side, price: u64, _: u64) {
        self.0.push((side, price));
    }

    fn cancel(&mut self, _: u64) {}
}

fn proposal(quantity: u64) -> Proposal {
    Proposal {
        side: Side::Buy,
        price: 1,
        quantity,
        position: 0,
        resting: 0,
    }
}

/// What serves in a slot: its generation, and the engine that runs it.
fn serving(host: &Host, slot: &str) -> (Option<u64>, Option<EngineKind>) {
    let slots = host.slots();
    let info = slots.iter().find(|info| info.name == slot).expect("there is such a slot");
    (info.generation, info.engine)
}

/// The version that serves in a slot.
fn hash(host: &Host, slot: &str) -> ContentHash {
    let slots = host.slots();
    let info = slots.iter().find(|info| info.name == slot).expect("there is such a slot");
    info.hash.expect("it serves")
}

fn wait_for<T>(events: &mut Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let record = events.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let record = record.expect("the event comes");
        if let Some(found) = wanted(&record.event) {
            return found;
        }
    }
}

fn wait_for_retired(events: &mut Events, slot: &str, generation: u64) -> RetireReport {
    wait_for(events, |event| match event {
        Event::Retired(report) if &*report.slot == slot && report.generation == generation => Some(report.clone()),
        _ => None,
    })
}

fn is_mapped(name: &str) -> bool {
    fs::read_to_string("/proc/self/maps")
        .expect("the kernel lists what is mapped")
        .contains(name)
}

#[test]
fn claims_slots_and_views_serve_two_plugins_of_the_program() {
    let host = builder()
        .link(desk_momentum::PLUGIN)
        .link(desk_risk::PLUGIN)
        .link(TALLY)
        .build()
        .expect("the host starts");
    let mut trader = host.claim::<dyn Trader>("desk-momentum").expect("it serves");
    let mut risk = host.claim::<dyn RiskModel>("desk-risk").expect("it serves");
    let mut wanted = Wanted::default();
    trader.on_event(&quote(1, 1000), &mut wanted).expect("it answers");
    trader.on_event(&quote(2, 2000), &mut wanted).expect("it answers");
    assert_eq!(wanted.0, [(Side::Buy, 2002)]);
    assert_eq!(trader.summary().expect("it answers").events, 2);
    assert!(risk.allows(&proposal(10)).expect("it answers"));
    assert!(!risk.allows(&proposal(10_000)).expect("it answers"));
    assert_eq!(Claim::sync(&mut trader), SyncOutcome::Unchanged);

    let tally = host.slot::<dyn Tally>("tally").expect("it serves");
    assert_eq!(tally.load().add(2).expect("it answers"), 2);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut reader = host.reader();
                for _ in 0..100 {
                    reader.view().get(&tally).add(1).expect("it answers");
                }
            });
        }
    });
    assert_eq!(tally.load().add(0).expect("it answers"), 402);
    assert_eq!(tally.load().place().expect("it answers"), "tally 1 with \"\"");

    for info in host.slots() {
        assert_eq!(info.engine, Some(EngineKind::Linked), "{info:?}");
        assert_eq!((info.path.as_ref(), info.live_bytes), (None, None), "{info:?}");
    }
    assert_eq!(mapped_copies(host.private_folder()), 0);
    assert!(!is_mapped(&host.private_folder().display().to_string()), "nothing was opened");
}

#[test]
fn a_file_takes_its_place_and_gives_it_back_with_the_state() {
    let folder = Folder::new();
    let file = folder.publish("libdesk_momentum.so", &library("desk-momentum"));
    let host = builder().link(desk_momentum::PLUGIN).build().expect("the host starts");
    let mut events = host.events();
    let mut trader = host.claim::<dyn Trader>("desk-momentum").expect("it serves");
    let mut wanted = Wanted::default();
    trader.on_event(&quote(1, 1000), &mut wanted).expect("it answers");

    let staged = host.load(&file).expect("the file is taken");
    assert!(matches!(staged, LoadOutcome::Staged { generation: 2, .. }), "{staged:?}");
    assert_eq!(Claim::sync(&mut trader), SyncOutcome::Adopted { generation: 2 });
    assert_eq!(serving(&host, "desk-momentum"), (Some(2), Some(EngineKind::Native)));
    assert_eq!(mapped_copies(host.private_folder()), 1);
    trader.on_event(&quote(2, 1000), &mut wanted).expect("it answers");
    assert_eq!(
        trader.summary().expect("it answers").events,
        2,
        "with the state of what was linked"
    );
    let linked = wait_for_retired(&mut events, "desk-momentum", 1);
    assert_eq!(linked.outcome, Outcome::Linked);
    let words = linked.to_string();
    assert!(words.contains("its code, a part of the program, stays"), "{words}");

    let staged = host.load_linked("desk-momentum").expect("it is taken");
    assert!(matches!(staged, LoadOutcome::Staged { generation: 3, .. }), "{staged:?}");
    assert_eq!(Claim::sync(&mut trader), SyncOutcome::Adopted { generation: 3 });
    assert_eq!(serving(&host, "desk-momentum"), (Some(3), Some(EngineKind::Linked)));
    assert_eq!(trader.summary().expect("it answers").events, 2, "with the state of the file");
    let native = wait_for_retired(&mut events, "desk-momentum", 2);
    assert!(matches!(native.outcome, Outcome::Unmapped(_)), "{native:?}");
    assert_eq!(mapped_copies(host.private_folder()), 0);

    let unchanged = host.load_linked("desk-momentum").expect("it serves already");
    assert!(
        matches!(unchanged, LoadOutcome::Unchanged { generation: 3, .. }),
        "{unchanged:?}"
    );
    let counts = host.images();
    assert_eq!((counts.mapped, counts.quarantined), (1, 0));
}

#[test]
fn rollback_finds_the_linked_version_although_no_history_has_it() {
    let folder = Folder::new();
    let file = folder.publish("libdesk_risk.so", &library("desk-risk"));
    let policy = Policy::development().probation(Duration::from_secs(600));
    let host = Host::builder()
        .policy(policy)
        .link(desk_risk::PLUGIN)
        .build()
        .expect("the host starts");
    host.load(&file).expect("the file is taken");
    assert_eq!(serving(&host, "desk-risk"), (Some(2), Some(EngineKind::Native)));
    // The one that was linked stands by.
    let back = host
        .rollback("desk-risk", RollbackTarget::Previous)
        .expect("there is a way back");
    assert!(matches!(back, LoadOutcome::RolledBack(_)), "{back:?}");
    assert_eq!(serving(&host, "desk-risk"), (Some(1), Some(EngineKind::Linked)));
    drop(host);

    let host = builder().link(desk_risk::PLUGIN).build().expect("the host starts");
    let linked = hash(&host, "desk-risk");
    host.load(&file).expect("the file is taken");
    // Nothing stands by, and the history has nothing but the file.
    let back = host
        .rollback("desk-risk", RollbackTarget::Previous)
        .expect("there is a way back");
    assert!(matches!(back, LoadOutcome::Swapped(_)), "{back:?}");
    assert_eq!(serving(&host, "desk-risk"), (Some(3), Some(EngineKind::Linked)));
    assert_eq!(hash(&host, "desk-risk"), linked);
}

#[test]
fn rollback_finds_the_linked_version_by_its_hash() {
    let folder = Folder::new();
    let file = folder.publish("libdesk_risk.so", &library("desk-risk"));
    let policy = Policy::development().probation(Duration::from_secs(600));
    for (policy, expected) in [(policy, 1), (Policy::without_probation(), 3)] {
        let host = Host::builder()
            .policy(policy)
            .link(desk_risk::PLUGIN)
            .build()
            .expect("the host starts");
        let linked = hash(&host, "desk-risk");
        host.load(&file).expect("the file is taken");
        assert_ne!(hash(&host, "desk-risk"), linked);
        // As the standby, and without one.
        let back = host
            .rollback("desk-risk", RollbackTarget::Hash(linked))
            .expect("there is a way back");
        assert_eq!(
            serving(&host, "desk-risk"),
            (Some(expected), Some(EngineKind::Linked)),
            "{back:?}"
        );
        let typed = linked.to_string()[..8].parse().expect("digits of a hash");
        let unchanged = host
            .rollback("desk-risk", RollbackTarget::Prefix(typed))
            .expect("it is current");
        assert!(matches!(unchanged, LoadOutcome::Unchanged { .. }), "{unchanged:?}");
    }
}

#[test]
fn a_watched_folder_replaces_it_and_a_plugin_of_its_own_serves_beside_it() {
    let folder = Folder::new();
    folder.publish("libfx_shared_counter.so", &Fixture::build("fx-shared-counter").stamped(1));
    let host = builder()
        .watch(folder.path())
        .link(TALLY)
        .link(desk_risk::PLUGIN)
        .build()
        .expect("the host starts");
    let mut events = host.events();
    let counter = host.slot::<dyn SharedCounter>("shared-counter").expect("it serves");
    let tally = host.slot::<dyn Tally>("tally").expect("it serves");
    assert_eq!(counter.load().add(1).expect("it answers"), 1);
    assert_eq!(tally.load().add(1).expect("it answers"), 1);
    assert_eq!(serving(&host, "tally"), (Some(1), Some(EngineKind::Linked)));
    assert_eq!(serving(&host, "shared-counter"), (Some(1), Some(EngineKind::Native)));
    assert_eq!(mapped_copies(host.private_folder()), 1);

    folder.publish("libdesk_risk.so", &library("desk-risk"));
    wait_for(&mut events, |event| match event {
        Event::Swapped(report) if &*report.slot == "desk-risk" && report.generation == 2 => Some(()),
        _ => None,
    });
    assert_eq!(serving(&host, "desk-risk"), (Some(2), Some(EngineKind::Native)));
}

#[test]
fn panic_is_contained_and_reported_like_that_of_a_loaded_plugin() {
    let host = builder().link(TALLY).build().expect("the host starts");
    let tally = host.slot::<dyn Tally>("tally").expect("it serves");
    let error: CallError = tally.load().fail("of all things").expect_err("it panics");
    let Fault::Panicked {
        message,
        location,
        backtrace,
    } = error.fault()
    else {
        panic!("{error}")
    };
    assert_eq!(&**message, "the tally: of all things");
    assert!(
        location.as_ref().is_some_and(|at| at.contains("linked/plugins.rs")),
        "{location:?}"
    );
    let functions: Vec<_> = backtrace.frames().iter().filter_map(|frame| frame.function.clone()).collect();
    assert!(functions.iter().any(|name| name.contains("fail")), "{functions:?}");
    assert_eq!((error.slot(), error.generation()), ("tally", 1));
    assert_eq!(tally.load().add(1).expect("it goes on"), 1);
    assert_eq!(host.slots()[0].faults, 1);
}

#[test]
fn one_that_does_not_start_is_refused() {
    let host = builder().link(BROKEN).link(TALLY).build().expect("the host starts");
    let refusal = host.load_linked("broken").expect_err("it panics in start");
    let Cause::Hook(Hook::Start, HookError::Panicked { message, .. }) = &*refusal.cause else {
        panic!("{refusal}")
    };
    assert_eq!(&**message, "in start");
    assert!(refusal.to_string().contains("linked:broken"), "{refusal}");
    assert!(host.slot::<dyn Lingers>("broken").is_err());

    let refusal = host.load_linked("talley").expect_err("there is none");
    assert!(matches!(&*refusal.cause, Cause::NotLinked { .. }), "{refusal}");
    assert!(refusal.to_string().contains("broken, tally"), "{refusal}");
}

#[test]
fn plugins_call_each_other_whichever_engine_runs_them() {
    // The one that is called comes second, and is loaded first.
    let host = builder().link(ASKER).link(TALLY).build().expect("the host starts");
    let asker = host.slot::<dyn Asks>("asker").expect("it serves");
    assert_eq!(asker.load().ask(3).expect("it answers"), Ok(3));
    let tally = host.slot::<dyn Tally>("tally").expect("it serves");
    assert_eq!(tally.load().add(1).expect("it answers"), 4);
}

#[test]
fn new_inputs_make_another_instance_with_the_state() {
    let folder = Folder::new();
    let resources = tempfile::tempdir().expect("a folder");
    let text = resources.path().join("text.txt");
    fs::write(&text, "one").expect("written");
    let host = builder()
        .watch(folder.path())
        .resources(resources.path())
        .link(TALLY)
        .build()
        .expect("the host starts");
    let mut events = host.events();
    let tally = host.slot::<dyn Tally>("tally").expect("it serves");
    assert_eq!(tally.load().place().expect("it answers"), "tally 1 with \"one\"");
    assert_eq!(tally.load().add(5).expect("it answers"), 5);
    let new = resources.path().join("new");
    fs::write(&new, "two").expect("written");
    fs::rename(&new, &text).expect("renamed");
    let retired = wait_for_retired(&mut events, "tally", 1);
    assert_eq!(retired.outcome, Outcome::Linked);
    assert_eq!(tally.load().place().expect("it answers"), "tally 2 with \"two\"");
    assert_eq!(tally.load().add(1).expect("it answers"), 6, "with the state");
    assert_eq!(serving(&host, "tally"), (Some(2), Some(EngineKind::Linked)));
}

#[test]
fn several_slots_and_several_hosts_have_instances_of_their_own() {
    let one = builder()
        .link(TALLY)
        .instances("tally", ["eur", "gbp"])
        .build()
        .expect("the host starts");
    let other = builder().link(TALLY).build().expect("the host starts");
    let slots = [(&one, "eur"), (&one, "gbp"), (&other, "tally")];
    for (number, (host, slot)) in slots.into_iter().enumerate() {
        let tally = host.slot::<dyn Tally>(slot).expect("it serves");
        let number = number as u64 + 1;
        assert_eq!(tally.load().add(number).expect("it answers"), number, "it is its own");
        assert_eq!(tally.load().place().expect("it answers"), format!("{slot} 1 with \"\""));
    }
}

#[test]
fn unloading_it_drops_the_instance_and_the_report_says_so() {
    let host = builder().link(TALLY).build().expect("the host starts");
    let mut events = host.events();
    let tally = host.slot::<dyn Tally>("tally").expect("it serves");
    tally.load().add(1).expect("it answers");
    let _ = host.unload("tally").expect("it is unloaded");
    let retired = wait_for_retired(&mut events, "tally", 1);
    assert_eq!(retired.outcome, Outcome::Linked);
    assert!(host.wait_until_retired(PATIENCE));
    let counts = host.images();
    assert_eq!((counts.mapped, counts.quarantined), (0, 0));
    let error = tally.load().add(1).expect_err("nothing serves");
    assert!(matches!(error.fault(), Fault::Unloaded), "{error}");
    host.load_linked("tally").expect("it comes back");
    assert_eq!(tally.load().add(1).expect("it answers"), 1);
}

#[test]
fn a_thread_that_does_not_end_is_named_and_keeps_no_image() {
    let (end, ends) = mpsc::channel();
    *END.lock().expect("nobody panics with it") = Some(ends);
    let host = builder()
        .drain_deadline(Duration::from_millis(50))
        .link(LINGERING)
        .build()
        .expect("the host starts");
    let mut events = host.events();
    assert!(
        host.slot::<dyn Lingers>("lingering")
            .expect("it serves")
            .load()
            .here()
            .expect("it answers")
    );
    let _ = host.unload("lingering").expect("it is unloaded");
    let retired = wait_for_retired(&mut events, "lingering", 1);
    assert_eq!(retired.outcome, Outcome::Linked);
    let error = retired.stop_error.expect("its thread is named");
    assert!(error.to_string().contains("lingers"), "{error}");
    let counts = host.images();
    assert_eq!((counts.mapped, counts.quarantined), (0, 0));
    end.send(()).expect("it waits for that");
}

#[test]
fn the_report_of_a_shutdown_lists_them_apart() {
    let folder = Folder::new();
    folder.publish("libfx_shared_counter.so", &Fixture::build("fx-shared-counter").stamped(2));
    let host = builder().watch(folder.path()).link(TALLY).build().expect("the host starts");
    let report = host.shutdown(PATIENCE);
    assert!(report.is_complete(), "{report}");
    let names = |ended: &[reslot::UnmappedImage]| ended.iter().map(|one| one.slot.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (names(&report.unmapped), names(&report.linked)),
        (vec!["shared-counter".to_owned()], vec!["tally".to_owned()])
    );
    assert!(
        report
            .to_string()
            .contains("linked into the program, and dropped: \"tally\" generation 1"),
        "{report}"
    );
}

/// What the program's subscriber has written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn logs_of_a_hook_are_in_a_span_with_its_slot() {
    static SET: Once = Once::new();
    let written = Written::default();
    let writer = written.clone();
    SET.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
    });
    let host = builder()
        .link(TALLY)
        .instances("tally", ["logged"])
        .build()
        .expect("the host starts");
    drop(host);
    let text = String::from_utf8(written.0.lock().expect("nobody panics with it").clone()).expect("text");
    let line = text.lines().find(|line| line.contains("begins") && line.contains("logged"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("plugin{slot=\"logged\" generation=1}"), "{line}");
}
