//! From saving an edit of a small plugin to the first call answered by the new code, through `build-plugin --watch`: `cargo xtask
//! bench save`. Beside it, block by block: the bare `cargo build` of the same edit, and hot-lib-reloader with cargo-watch on the
//! same plugin. Then the time by part, and what each of the compiler's and cargo's settings would save.
//!
//! The plugin is a copy of plugins/momentum in a workspace of its own.
#![forbid(unsafe_code)]

#[cfg(feature = "peers")]
mod hot;
mod ours;
mod parts;

#[cfg(feature = "peers")]
use anyhow::Context;
use anyhow::ensure;
use ours::Ours;
use reslot_bench::{Report, Row, Samples, millis, only_a_test};
use reslot_demo::workshop::{PLUGIN, Workshop};
use std::{path::Path, process::Command, time::Duration};
use xtask::{Profile, Workspace, cargo};

const BLOCKS: u32 = 4;
const EDITS: u32 = 6;
/// Far more than a build takes.
const PATIENCE: Duration = Duration::from_secs(120);

const BARE: &str = "bare cargo build of the edit, nothing loaded";
const LIVE: &str = "build-plugin --watch: save to first new answer";

/// The number that the next edit writes.
struct Editions(u32);

impl Editions {
    fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

fn main() -> anyhow::Result<()> {
    let (blocks, edits) = if only_a_test() { (1, 1) } else { (BLOCKS, EDITS) };
    let repository = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let workshop = Workshop::open(&repository, "bench-save", Profile::Debug)?;
    let status = cargo()
        .args(["build", "--quiet", "--package", "xtask"])
        .current_dir(&repository.root)
        .status()?;
    ensure!(status.success(), "xtask does not build");
    // A test builds nothing that takes minutes.
    #[cfg(feature = "peers")]
    let hot = if only_a_test() {
        None
    } else {
        Some(hot::Hot::prepare(&repository)?)
    };

    let mut editions = Editions(10);
    let mut ours = Ours::new(&repository, &workshop)?;
    let (mut bare, mut live) = (Samples::new(), Samples::new());
    #[cfg(feature = "peers")]
    let mut peers = hot::WAYS.map(|_| Samples::new());
    for _ in 0..blocks {
        // The first one is not counted: it comes right after another's work.
        for count in 0..=edits {
            workshop.set_edition(editions.next())?;
            let took = parts::cargo_build(&workshop, &[])?;
            if count > 0 {
                bare.push(millis(took));
            }
        }
        for took in ours.block(&workshop, &mut editions, edits)? {
            live.push(millis(took));
        }
        #[cfg(feature = "peers")]
        if let Some(hot) = &hot {
            for (samples, way) in peers.iter_mut().zip(hot::WAYS) {
                for took in hot.block(&way, &mut editions, edits)? {
                    samples.push(millis(took));
                }
            }
        }
    }

    let mut report = Report::new("save");
    report.heading(format!("Save to live: an edit of `{PLUGIN}`, debug build"));
    report.row(Row::new(BARE, &bare, "ms").quoted());
    report.row(
        Row::new(LIVE, &live, "ms")
            .against(BARE, &live.over(&bare))
            .at_most(1.2)
            .quoted(),
    );
    #[cfg(feature = "peers")]
    if hot.is_some() {
        for (samples, way) in peers.iter().zip(hot::WAYS) {
            let row = Row::new(way.name, samples, "ms").against(BARE, &samples.over(&bare));
            report.row(row.quoted());
        }
        let best = (0..peers.len()).min_by(|a, b| peers[*a].median().total_cmp(&peers[*b].median()));
        let best = best.context("there is a peer")?;
        report.row(
            Row::new("build-plugin --watch, against the quickest of them", &live, "ms")
                .against(hot::WAYS[best].name, &live.over(&peers[best]))
                .at_most(0.8)
                .quoted(),
        );
    }
    report.heading("Save to live, by part");
    for (name, samples) in ours.parts() {
        report.row(Row::new(name, samples, "ms"));
    }
    parts::report(&mut report, &repository, &workshop, &mut editions)?;
    report.finish()
}

fn in_workshop(workshop: &Workshop, mut command: Command) -> Command {
    // Its own configuration says where it builds: where the repository does.
    command.current_dir(workshop.root());
    command
}
