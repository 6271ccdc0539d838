//! The abilities of a surface outside of this repository: `status_file.rs` is one, which uses only the public items of
//! `reslot`.

mod status_file;
#[allow(dead_code)]
#[path = "../scenarios/support.rs"]
mod support;

use fixture_interfaces::Probe;
use reslot::{
    BuildError, Cause, Event, Host, HostBuilder, Policy,
    surface::{HostEnded, HostHandle, Setup, Surface, SurfaceError},
};
use reslot_tests::{Fixture, Folder};
use status_file::{ANSWER, ROLLBACK, STATUS, StatusFile, StatusWriter};
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use support::{publish, wait_until};

/// A host whose probation ends only by `confirm`.
fn builder() -> HostBuilder {
    let policy = Policy::development().probation(Duration::from_secs(3600));
    Host::builder().policy(policy)
}

fn text(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default()
}

#[test]
fn foreign_surface_observes_asks_and_steers() {
    let (plugins, meeting) = (Folder::new(), tempfile::tempdir().unwrap());
    let at = meeting.path();
    let host = builder()
        .watch(plugins.path())
        .attach(StatusFile::in_folder(at))
        .build()
        .unwrap();
    assert!(host.surface::<StatusWriter>().is_some());
    let probe = Fixture::build("fx-probe");
    for stamp in [1, 2] {
        host.load(plugins.publish("probe.so", &probe.stamped(stamp))).unwrap();
    }
    wait_until(|| text(at, STATUS) == "probe: generation 2, on probation\n", "the status");
    publish(&at.join(ROLLBACK), b"nobody");
    wait_until(|| text(at, ANSWER).starts_with("refused: no slot \"nobody\""), "the refusal");
    publish(&at.join(ROLLBACK), b"probe\n");
    wait_until(|| text(at, ANSWER).starts_with("done: probe: "), "the rollback");
    assert_eq!(host.slot::<dyn Probe>("probe").unwrap().load().stamp().unwrap(), 1);
    wait_until(|| text(at, STATUS).starts_with("probe: generation 1"), "the status");
    drop(host);
    assert!(!at.join(STATUS).exists(), "the surface ended after its host");
}

#[test]
fn host_is_not_built_without_a_surface_that_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let error = builder()
        .attach(StatusFile::in_folder(&folder.path().join("none")))
        .build()
        .unwrap_err();
    assert!(matches!(error, BuildError::Surface(_)), "{error:?}");
    let words = error.to_string();
    assert!(words.contains("is no folder\n  what to do: make the folder"), "{words}");
}

/// A surface that keeps its handle, and records the host's answers at each event.
#[derive(Clone, Default)]
struct Curious {
    handle: Arc<OnceLock<HostHandle>>,
    reentrant: Arc<Mutex<Vec<String>>>,
    at_the_end: Arc<Mutex<Vec<(bool, bool)>>>,
}

impl Surface for Curious {
    type Running = Self;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let this = self.clone();
        setup.on_event(move |event| {
            let Some(handle) = this.handle.get() else { return };
            match event {
                Event::ShutDown => {
                    let answered = (handle.ask().is_ok(), handle.steer().is_ok());
                    this.at_the_end.lock().unwrap().push(answered);
                }
                Event::Swapped(_) => {
                    let host = handle.steer().expect("it does not end");
                    assert_eq!(host.slots().len(), 1);
                    for refusal in host.load("nothing.so").into_iter().filter_map(Result::err) {
                        assert!(matches!(&*refusal.cause, Cause::Reentrant), "{refusal}");
                        this.reentrant.lock().unwrap().push(refusal.to_string());
                    }
                }
                _ => {}
            }
        });
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<Self, SurfaceError> {
        let _ = self.handle.set(host);
        Ok(self)
    }
}

#[test]
fn handle_answers_clearly_whenever_it_is_asked() {
    let (plugins, curious) = (Folder::new(), Curious::default());
    let host = builder().attach(curious.clone()).build().unwrap();
    host.load(plugins.publish("probe.so", &Fixture::build("fx-probe").stamped(1)))
        .unwrap();
    // The event of the swap came on the reload thread, which cannot wait for itself.
    assert_eq!(curious.reentrant.lock().unwrap().len(), 1);
    let handle = curious.handle.get().unwrap();
    let asking = handle.ask().unwrap();
    assert_eq!(asking.slot("probe").unwrap().generation, Some(1));
    assert!(asking.slot("nobody").is_err() && !asking.is_ending());
    let mut events = asking.events();
    drop(asking);
    drop(host);
    // At the end the host still answers queries, and refuses commands.
    assert_eq!(*curious.at_the_end.lock().unwrap(), [(true, false)]);
    assert_eq!(handle.ask().err(), Some(HostEnded));
    assert_eq!(handle.steer().err(), Some(HostEnded));
    // A stream outlives its host, and then ends.
    let mut ended = false;
    while let Some(record) = events.recv() {
        ended |= matches!(record.event, Event::ShutDown);
    }
    assert!(ended && events.is_over());
}
