//! The last act of the demo: a build with a mistake in it comes to serve, and the host goes back from it, with the state.

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

/// What was seen.
pub struct Mistake {
    /// How many calls failed.
    pub failed: u64,
    /// What the host says.
    pub report: RollbackReport,
    /// What the earlier code says of its state, right after it took over again.
    pub after: Option<Summary>,
    /// Whether the published mistake is refused from now on.
    pub refused: bool,
    /// How many images are mapped once the faulty one is gone.
    pub mapped: usize,
}

/// How long anything that takes milliseconds may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Publishes a good build and one with a mistake under a host with the usual policy, and goes on trading.
pub fn show(workshop: &Workshop, good: &Build) -> anyhow::Result<Mistake> {
    anstream::println!("The same program again, with a host as it is built by default. Somebody saves this:");
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
        "Generation {} has dealt with {} prices. The build is published.",
        desk.generation().context("nothing serves")?,
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
            break (told.context("a rollback is told by an event")?, after);
        }
        if Instant::now() > deadline {
            bail!("the host did not go back from a build whose calls panic");
        }
        thread::sleep(PACE);
    };
    anstream::println!("\n  {}\n", report.to_string().replace('\n', "\n  "));
    if let Some(after) = &after {
        anstream::println!("  Edition {} goes on, and says: {}", after.edition, words::state(after));
    }
    bad.publish()?;
    let refused = loop {
        desk.round_with_a_way_back();
        let told = events.try_recv().map(|record| record.event.clone());
        match told {
            Some(Event::StillRefused { .. }) => break true,
            Some(Event::Swapped(_) | Event::Staged { .. }) => break false,
            _ if Instant::now() > deadline => bail!("nothing was said of the mistake that was published again"),
            _ => thread::sleep(PACE),
        }
    };
    anstream::println!("  {}", dim("Published once more, the same file is not taken again."));
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
    /// Whether the state came back as it was left: the one price that was not dealt with is the only one that is missing.
    pub fn kept_the_state(&self) -> bool {
        matches!(self.report.state, RestoredState::Carried { .. }) && self.after.is_some_and(|after| after.ticks > 150)
    }
}
