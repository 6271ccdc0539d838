//! One small program for each promise. Each runs under any number of schedules; a seed repeats one.

mod claims;
mod configuration;
mod ends;
mod events;
mod gates;
mod history;
mod ledger;
mod memory;
mod publish;
mod sets;
mod unloads;

use crate::{
    artifacts::{build, builder, file},
    world,
};
use reslot_runtime::{
    Host, ShutdownReport,
    surface::{HostHandle, Surface, SurfaceError},
};
use reslot_sync::{Exploration, Failure, explore};
use std::{
    sync::{Arc, OnceLock, atomic::Ordering::Relaxed},
    time::Duration,
};

/// The highest number of points in an execution of a model. The longest has some 7,000.
const MOST_STEPS_OF_A_MODEL: usize = 100_000;

/// One of the programs.
pub struct Model {
    /// Its name in commands.
    pub name: &'static str,
    /// The invariants that it explores.
    pub explores: &'static str,
    body: fn(),
}

/// All models.
pub fn all() -> Vec<Model> {
    [
        publish::MODELS,
        gates::MODELS,
        claims::MODELS,
        configuration::MODELS,
        sets::MODELS,
        ledger::MODELS,
        memory::MODELS,
        ends::MODELS,
        events::MODELS,
        unloads::MODELS,
        history::MODELS,
    ]
    .concat()
    .into_iter()
    .map(|(name, explores, body)| Model { name, explores, body })
    .collect()
}

/// Name, invariants, body.
type Described = (&'static str, &'static str, fn());

impl Model {
    /// Runs it under the schedules of these seeds.
    ///
    /// # Errors
    /// If an invariant does not hold.
    pub fn explore(&self, seeds: impl Iterator<Item = u64> + 'static) -> Result<Exploration, Failure> {
        let body = self.body;
        explore(seeds, MOST_STEPS_OF_A_MODEL, move |_| {
            world::begin();
            body();
        })
    }
}

/// What a surface was handed when its host started.
pub(crate) type OneHandle = Arc<OnceLock<HostHandle>>;

/// A surface that hands its handle out.
pub(crate) struct HandedOut(pub(crate) OneHandle);

impl Surface for HandedOut {
    type Running = ();

    fn start(self, host: HostHandle) -> Result<(), SurfaceError> {
        let _ = self.0.set(host);
        Ok(())
    }
}

/// Shuts the host down, and checks that no image is left.
pub(crate) fn end(host: Host) {
    check_unmapped(&host.shutdown(Duration::from_secs(60)));
}

/// Fails the execution if an image is mapped, after the host's shutdown with this report.
pub(crate) fn check_unmapped(report: &ShutdownReport) {
    for image in world::images() {
        if image.mapped.load(Relaxed) {
            let (slot, generation) = (&image.slot, image.generation);
            panic!(
                "an image that nobody holds is unmapped: generation {generation} of {slot} is mapped after the shutdown: {report:?}"
            );
        }
    }
}
