//! A change of the configuration against other changes of the slot.

use super::{Described, OneHandle, build, builder, end};
use crate::plugins::{Tally, tally};
use reslot_runtime::{
    Policy, RollbackTarget,
    surface::{HostHandle, PluginSettings, Setup, Surface, SurfaceError},
};
use reslot_sync::thread;
use std::{collections::BTreeMap, time::Duration};

pub(super) const MODELS: &[Described] = &[(
    "outdated-instance",
    "another instance of a version that is rolled back meanwhile is discarded, and no effect of a call is lost",
    outdated_instance,
)];

/// A surface that gives the plugins their configuration, and hands its handle out.
struct Configures(OneHandle);

impl Surface for Configures {
    type Running = ();

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        setup.plugin_settings(PluginSettings::new());
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<(), SurfaceError> {
        let _ = self.0.set(host);
        Ok(())
    }
}

fn outdated_instance() {
    let handle = OneHandle::default();
    let host = builder(Policy::development())
        .attach(Configures(handle.clone()))
        .build()
        .unwrap();
    host.load(build(tally::PLUGIN, 1)).unwrap();
    host.load(build(tally::PLUGIN, 2)).unwrap();
    let slot = host.slot::<dyn Tally>("tally").unwrap();
    let configures = thread::spawn(move || {
        let mut settings = PluginSettings::new();
        settings.insert("tally", &BTreeMap::from([("number", 7)])).unwrap();
        let steering = handle.get().unwrap().steer().unwrap();
        steering.apply_settings(settings, Vec::new(), Vec::new());
    });
    assert_eq!(slot.load().add(1).unwrap(), 1);
    host.rollback("tally", RollbackTarget::Previous).unwrap();
    configures.join().unwrap();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(
        slot.load().version().unwrap(),
        1,
        "the rollback is done, and nothing of the later version comes after it"
    );
    assert_eq!(slot.load().total().unwrap(), 1, "no effect of a call is lost");
    drop(slot);
    end(host);
}
