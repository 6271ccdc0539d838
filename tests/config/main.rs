//! A separate test target, because only this one needs the feature `config`.
//!
//! Settings: first layers and files alone, then the configuration of plugins, then resources.

mod changes;
mod going_back;
#[allow(dead_code)]
#[path = "../scenarios/bit_flips/image.rs"]
mod image;
mod layers;
mod refused;
mod resources;
#[allow(dead_code)]
#[path = "../scenarios/support.rs"]
mod support;
mod watched;

use crate::support::{PATIENCE, wait_until};
use fixture_interfaces::Tuned;
use reslot::{
    Event, Events, Host, HostBuilder,
    config::{Configuration, Layers},
};
use reslot_tests::{Fixture, Folder};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A host with a folder of artifacts, a file of settings and a folder of resources.
struct Desk {
    artifacts: Folder,
    settings: TempDir,
}

impl Desk {
    fn new(settings: &str) -> Self {
        let desk = Self {
            artifacts: Folder::new(),
            settings: tempfile::tempdir().unwrap(),
        };
        desk.set(settings);
        desk
    }

    fn file(&self) -> PathBuf {
        self.settings.path().join("desk.toml")
    }

    fn set(&self, settings: &str) {
        replace(&self.file(), settings);
    }

    fn resource(&self, name: &str, text: &str) {
        let path = self.settings.path().join("files").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        replace(&path, text);
    }

    fn publish(&self, fixture: &str, stamp: u64) {
        self.artifacts.publish(&format!("lib{fixture}.so"), &stamped(fixture, stamp));
    }

    fn builder(&self) -> HostBuilder {
        Host::builder()
            .policy(reslot::Policy::without_probation())
            .watch(self.artifacts.path())
            .attach(Configuration::of(Layers::new().file(self.file())))
            .resources(self.settings.path().join("files"))
    }

    fn host(&self) -> Host {
        self.builder().build().unwrap()
    }
}

/// The artifact `tuned` or `tuned-open` with a number in it.
fn stamped(fixture: &str, stamp: u64) -> Vec<u8> {
    Fixture::build(&format!("fx-{fixture}")).stamped(stamp)
}

/// Writes the text to a temporary file and renames it to `path`.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}

fn threshold(host: &Host, slot: &str) -> f64 {
    host.slot::<dyn Tuned>(slot).unwrap().load().threshold().unwrap()
}

fn settings(threshold: f64) -> String {
    format!("[plugins.tuned]\nthreshold = {threshold:?}\n")
}

fn wait_for_threshold(host: &Host, slot: &str, wanted: f64) {
    wait_until(|| threshold(host, slot) == wanted, "the configuration");
}

/// Waits for a refusal; returns its file, slot and reason.
fn wait_for_config_refused(events: &mut Events) -> (Option<PathBuf>, Option<String>, String) {
    support::wait_for(events, |event| match event {
        Event::ConfigRefused { file, slot, reason } => {
            Some((file.clone(), slot.as_ref().map(ToString::to_string), reason.clone()))
        }
        _ => None,
    })
}

/// Waits until a slot has the current settings; returns the generation.
fn wait_for_config_applied(events: &mut Events, wanted: &str) -> u64 {
    support::wait_for(events, |event| match event {
        Event::ConfigApplied { slot, generation } if &**slot == wanted => Some(*generation),
        _ => None,
    })
}

/// Asserts that no retired generation is still mapped.
fn assert_gone(host: &Host) {
    assert!(host.wait_until_retired(PATIENCE), "{:?} mapped", host.images());
}
