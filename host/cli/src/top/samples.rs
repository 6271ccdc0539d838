//! Sample data for the tests of this program.

use reslot_control::protocol::{Overview, Reload, SlotStatus, StepTook};

/// A slot with only a name.
pub(super) fn bare(name: &str) -> SlotStatus {
    SlotStatus {
        name: name.to_owned(),
        interface: None,
        generation: None,
        version: None,
        hash: None,
        path: None,
        engine: None,
        plugin: None,
        state: "empty".to_owned(),
        staged: None,
        standby: None,
        claimed: false,
        health: None,
        live_bytes: None,
        calls: None,
        faults: 0,
        mapped: 0,
        quarantined: 0,
        late_holders: 0,
        log_level: None,
        last_refusal: None,
        damaged: None,
    }
}

/// A slot with all fields set.
pub(super) fn full(name: &str) -> SlotStatus {
    SlotStatus {
        interface: Some("Strategy".to_owned()),
        generation: Some(12),
        version: Some("1.4.2".to_owned()),
        hash: Some("0123456789abcdef0123456789abcdef".to_owned()),
        path: Some("/srv/desk/plugins/libmomentum.so".into()),
        engine: Some("native".to_owned()),
        state: "serving".to_owned(),
        staged: Some(13),
        standby: Some(11),
        claimed: true,
        health: Some("healthy".to_owned()),
        live_bytes: Some(12_600),
        calls: Some(1000),
        faults: 3,
        mapped: 2,
        quarantined: 1,
        late_holders: 4,
        log_level: Some("debug".to_owned()),
        last_refusal: Some("libmomentum.so does not export a root".to_owned()),
        ..bare(name)
    }
}

/// A host with these slots.
pub(super) fn host(slots: Vec<SlotStatus>) -> Overview {
    Overview {
        host_id: "5f0c1a7be2d94483".to_owned(),
        process: 4242,
        program: "desk".to_owned(),
        uptime_ms: 7_500_000,
        folder: Some("/srv/desk/plugins".into()),
        mapped: 5,
        quarantined: 1,
        next_event: 99,
        slots,
        reloads: Vec::new(),
    }
}

/// A reload with these steps.
pub(super) fn reload(slot: &str, generation: Option<u64>, outcome: &str, steps: &[(&str, f64)]) -> Reload {
    Reload {
        at_ms: 3_661_000,
        slot: slot.to_owned(),
        generation,
        outcome: outcome.to_owned(),
        reason: None,
        steps: steps
            .iter()
            .map(|&(step, us)| StepTook {
                step: step.to_owned(),
                us,
            })
            .collect(),
        total_us: steps.iter().map(|(_, us)| us).sum(),
        pause_us: None,
    }
}
