//! The last part of the demo: a faulty build is loaded, and the host rolls back, with the state.

use crate::course::PACE;
use anyhow::{Context, bail};
use reslot::{Event, Host, RestoredState, RollbackReport, mapped_copies};
use reslot_demo::{
    desk::Desk,
    ticks::Feed,
    words::{self, dim},
    workshop::{Build, PLUGIN, Workshop},
};
use sample_interfaces::Summary;
use std::{
    thread,
    time::{Duration, Instant},
};

/// The observations.
pub struct Mistake {
    /// The number of failed calls.
    pub failed: u64,
    /// The host's report.
    pub report: RollbackReport,
    /// The state right after the rollback, from the earlier code.
    pub after: Option<Summary>,
    /// Whether the published mistake is refused from now on.
    pub refused: bool,
    /// The number of mapped images after the faulty one is gone.
    pub mapped: usize,
}

/// How long anything that takes milliseconds may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Publishes a good and a faulty build under a host with the default policy, and continues to trade.
pub fn show(workshop: &Workshop, good: &Build) -> anyhow::Result<Mistake> {
    anstream::println!("The same program again, with a default host. An author saves this:");
    for line in workshop.make_a_mistake()? {
        anstream::println!("  {line}");
    }
    let bad = workshop.build()?;
    good.publish()?;
    let host = Host::builder().watch(workshop.folder()).build()?;
    let mut desk = Desk::open(&host, PLUGIN, Feed::recorded()?)?;
    for _ in 0..150 {
        desk.round_with_a_way_back();
    }
    anstream::println!(
        "Generation {} has processed {} prices. The build is published.",
        desk.generation().context("the slot is empty")?,
        desk.fed()
    );
    bad.publish()?;
    let mut events = host.events();
    let deadline = Instant::now() + PATIENCE;
    let (report, after) = loop {
        if let Some((_, after)) = desk.round_with_a_way_back() {
            let told = std::iter::from_fn(|| events.try_recv()).find_map(|record| match &record.event {
                Event::RolledBack(report) => Some(report.clone()),
                _ => None,
            });
            break (told.context("an event reports a rollback")?, after);
        }
        if Instant::now() > deadline {
            bail!("the host did not roll back from a build whose calls panic");
        }
        thread::sleep(PACE);
    };
    anstream::println!("\n  {}\n", report.to_string().replace('\n', "\n  "));
    if let Some(after) = &after {
        anstream::println!("  Edition {} is current again: {}", after.edition, words::state(after));
    }
    bad.publish()?;
    let refused = loop {
        desk.round_with_a_way_back();
        let told = events.try_recv().map(|record| record.event.clone());
        match told {
            Some(Event::StillRefused { .. }) => break true,
            Some(Event::Swapped(_) | Event::Staged { .. }) => break false,
            _ if Instant::now() > deadline => bail!("no event reported the faulty build that was published again"),
            _ => thread::sleep(PACE),
        }
    };
    anstream::println!(
        "  {}",
        dim("The same file is published again, and the host does not load it.")
    );
    let left = host.wait_until_retired(PATIENCE);
    let mapped = if left {
        mapped_copies(host.private_folder())
    } else {
        usize::MAX
    };
    Ok(Mistake {
        failed: desk.calls().failed,
        report,
        after,
        refused,
        mapped,
    })
}

impl Mistake {
    /// Whether the state was carried back: only the one failed price is missing.
    pub fn kept_the_state(&self) -> bool {
        matches!(self.report.state, RestoredState::Carried { .. }) && self.after.is_some_and(|after| after.ticks > 150)
    }
}
