//! Runs a program.

use super::{
    callers::{Callers, Owner},
    expected::Expected,
    program::{Name, Program, Step},
};
use crate::{
    artifacts::{builder, file},
    plugins::{self, Book, Calls, Tally},
    world::{self, Script},
};
use reslot_plugin_api::LinkedPlugin;
use reslot_runtime::{
    Event, Host, Policy, Reader, RollbackState, RollbackTarget, Shadow, SlotGuard,
    surface::{HostHandle, PluginSettings, Setup, Surface, SurfaceError},
};
use reslot_sync::thread;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// Longer than any hook hangs.
const LONG: Duration = Duration::from_secs(3_000);

fn plugin(name: Name) -> LinkedPlugin {
    match name {
        Name::Tally => plugins::tally::PLUGIN,
        Name::Book => plugins::book::PLUGIN,
        Name::Left => plugins::left::PLUGIN,
        Name::Middle => plugins::middle::PLUGIN,
        Name::Right => plugins::right::PLUGIN,
        Name::Calls => plugins::calls::PLUGIN,
    }
}

pub fn run(program: &Program, folder: &Path) {
    let mut steps = program.steps.iter();
    loop {
        let again = live(program, folder, &mut steps);
        if !again {
            return;
        }
    }
}

/// The life of one host. Answers whether another one follows.
fn live<'a>(program: &Program, folder: &Path, steps: &mut impl Iterator<Item = &'a Step>) -> bool {
    let mut policy = match program.probation {
        true => Policy::development(),
        false => Policy::without_probation(),
    };
    if program.snapshot {
        policy = policy.rollback_state(RollbackState::Snapshot);
    }
    let host = builder(policy)
        .history(folder.join("history"))
        .attach(Settings)
        .build()
        .unwrap();
    let mut settings = BTreeMap::new();
    check_history(&host);
    let mut expected = Expected::new(host.events());
    for name in Name::ALL {
        // A version that an earlier life has left unconfirmed, or found faulty, is refused: then another one is the first.
        let candidates = (0..3).map(|number| Script {
            version: [1, 1_001, 1_002][number],
            ..Script::default()
        });
        let loaded = candidates
            .into_iter()
            .find(|first| host.load(file(plugin(name), first)).is_ok());
        // If the first is known to be faulty, the host starts what the history has confirmed. A snapshot of that may fail.
        match loaded.or_else(|| world::serving(name.slot())) {
            Some(first) => expected.gives(name, &first),
            None => panic!("no first version of {} is accepted", name.slot()),
        }
    }
    let callers = Callers::start(&host, program.callers);
    let mut owner = Owner::start(&host, None);
    // The book's total, as its last owner left it.
    let mut total_of_book = None;
    let tally = host.slot::<dyn Tally>("tally").unwrap();
    let mut guards: Vec<SlotGuard<'_, dyn Tally>> = Vec::new();
    let mut readers: Vec<Reader> = Vec::new();
    let mut follows = false;
    for step in steps {
        match step {
            Step::Load(name, script) => load(&host, &mut expected, *name, script),
            Step::LoadAgain(name) => {
                if let Some(script) = expected.newest(*name) {
                    let _ = host.load(file(plugin(*name), &script));
                }
            }
            Step::Notice(name, script) => {
                expected.gives(*name, script);
                host.notice(file(plugin(*name), script));
            }
            Step::LoadTogether(version, fault) => together(&host, &mut expected, *version, *fault),
            Step::RollBack(name) => drop(host.rollback(name.slot(), RollbackTarget::Previous)),
            Step::Confirm(name) => drop(host.confirm(name.slot())),
            Step::Unload(name) => drop(host.unload(name.slot())),
            Step::ForceUnload(name) => drop(host.force_unload(name.slot())),
            Step::LoadSaved(name) => {
                if let (Some(state), Some(script)) = (host.left_state(name.slot()), expected.newest(*name)) {
                    let _ = host.load_from(name.slot(), file(plugin(*name), &script), state);
                }
            }
            Step::HoldGuard(name) if matches!(name, Name::Tally) => guards.push(tally.load()),
            Step::HoldGuard(_) | Step::HoldView => {
                let mut reader = host.reader();
                let _ = reader.view().get(&tally).total();
                readers.push(reader);
            }
            Step::Release => {
                guards.clear();
                readers.clear();
            }
            Step::Claim => match owner.take() {
                Some(owner) => {
                    total_of_book = owner.end();
                    expected.read_events();
                    expected.book_changed = false;
                }
                None => {
                    expected.read_events();
                    owner = Owner::start(&host, total_of_book.take().filter(|_| !expected.book_changed));
                }
            },
            Step::Shadow(script) => shadow(&host, script),
            Step::Configure(name, number) => configure(&host, &mut settings, *name, *number),
            Step::Delete(name) => {
                if let Some(script) = expected.newest(*name) {
                    host.notice_deleted(file(plugin(*name), &script));
                }
            }
            Step::Wait(milliseconds) => thread::sleep(Duration::from_millis(*milliseconds)),
            Step::Restart => {
                follows = true;
                break;
            }
        }
        expected.read_events();
    }
    if let Some(owner) = owner {
        let _ = owner.end();
    }
    let added = callers.end();
    guards.clear();
    readers.clear();
    // What the supervisor and the reload thread still have to do is done before the total is read.
    thread::sleep(Duration::from_secs(30));
    let _ = tally.load().total();
    expected.read_events();
    expected.total(tally.load().total().ok(), added);
    drop(tally);
    let _ = host.shutdown(LONG);
    thread::sleep(LONG);
    expected.ended();
    follows
}

/// A surface that gives the plugins their configuration.
struct Settings;

impl Surface for Settings {
    type Running = HostHandle;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        setup.plugin_settings(PluginSettings::new());
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<HostHandle, SurfaceError> {
        Ok(host)
    }
}

fn configure(host: &Host, given: &mut BTreeMap<Name, u64>, name: Name, number: u64) {
    given.insert(name, number);
    let mut settings = PluginSettings::new();
    for (name, number) in given {
        let table = BTreeMap::from([("number", *number)]);
        settings.insert(name.slot(), &table).unwrap();
    }
    let handle = host.surface::<HostHandle>().unwrap();
    if let Ok(steering) = handle.steer() {
        steering.apply_settings(settings, Vec::new(), Vec::new());
    }
}

fn load(host: &Host, expected: &mut Expected, name: Name, script: &Script) {
    let peer_serves = host
        .slots()
        .iter()
        .any(|slot| slot.name == "tally" && slot.generation.is_some());
    let answer = host.load(file(plugin(name), script));
    expected.gives(name, script);
    let version = match name {
        Name::Book => None,
        Name::Calls => host
            .slot::<dyn Calls>("calls")
            .ok()
            .and_then(|slot| slot.load().version().ok()),
        _ => host
            .slot::<dyn Tally>(name.slot())
            .ok()
            .and_then(|slot| slot.load().version().ok()),
    };
    expected.loaded(name, script, version, peer_serves, &answer);
}

fn together(host: &Host, expected: &mut Expected, version: u64, fault: Option<(world::Place, world::Fault)>) {
    let names = [Name::Left, Name::Middle, Name::Right];
    let scripts = names.map(|name| Script {
        version,
        fault: fault.filter(|_| name == Name::Middle),
        ..Script::default()
    });
    for (name, script) in names.iter().zip(&scripts) {
        expected.gives(*name, script);
    }
    let files: Vec<_> = names
        .iter()
        .zip(&scripts)
        .map(|(name, script)| file(plugin(*name), script))
        .collect();
    let before = serving(host);
    let answer = host.load_together(files.clone());
    let after = serving(host);
    match answer {
        Ok(_) if fault.is_none() => assert_eq!(after.map(|one| one.version), [Some(version); 3], "the whole set serves"),
        Ok(_) => {}
        // Builds that the watch has noticed may be swapped in meanwhile, but none of the set.
        Err(refusal) => {
            for ((name, before), after) in names.iter().zip(&before).zip(&after) {
                let same = after.version != Some(version) || before.version == Some(version);
                assert!(
                    same || came_from_elsewhere(host, *name, after, &files),
                    "a refused set changes nothing: {before:?} became {after:?} in {name:?}: {refusal}"
                );
            }
        }
    }
}

/// What a view has of a slot. None if the slot was unloaded.
#[derive(Debug, Default)]
struct Serving {
    version: Option<u64>,
    generation: Option<u64>,
}

/// What one view has of the set. A view shows the slots for which there were handles when it was made.
fn serving(host: &Host) -> [Serving; 3] {
    let slots = ["left", "middle", "right"].map(|name| host.slot::<dyn Tally>(name).ok());
    let mut reader = host.reader();
    let view = reader.view();
    slots
        .map(|slot| {
            let slot = slot?;
            Some(Serving {
                version: view.get(&slot).version().ok(),
                generation: view.generation(&slot),
            })
        })
        .map(Option::unwrap_or_default)
}

/// Whether this generation was made of another file than these. A process that was killed has run the same program, so a rollback may go to
/// a version of the history that equals a member of a set.
fn came_from_elsewhere(host: &Host, name: Name, serving: &Serving, files: &[PathBuf]) -> bool {
    // Events come after the swap: by then they are there.
    thread::sleep(Duration::from_millis(1));
    let mut events = host.events();
    std::iter::from_fn(|| events.try_recv()).any(|record| match &record.event {
        Event::Swapped(report) => {
            let concerned = &*report.slot == name.slot() && Some(report.generation) == serving.generation;
            concerned && !files.contains(&report.path)
        }
        _ => false,
    })
}

fn shadow(host: &Host, script: &Script) {
    let shadow: Result<Shadow<dyn Book>, _> = host.shadow("book", file(plugin(Name::Book), script));
    if let Ok(shadow) = shadow {
        let _ = shadow.version();
    }
}

/// Every version that the history lists can be had, and is one of the builds.
fn check_history(host: &Host) {
    for name in Name::ALL {
        for entry in host.history(name.slot()) {
            if entry.bytes == 0 {
                continue;
            }
            match host.artifact(name.slot(), entry.hash) {
                Ok(bytes) => assert!(
                    crate::engine::is_artifact(&bytes),
                    "the history of {} has a version that nobody published",
                    name.slot()
                ),
                Err(error) => panic!(
                    "the history lists a version of {} that it does not have: {error}",
                    name.slot()
                ),
            }
        }
    }
}
