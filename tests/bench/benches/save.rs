//! From saving an edit of a small plugin to the first call answered by the new code, with `build-plugin --watch`, against the
//! bare `cargo build` of the same kind of edit: `cargo xtask bench save`. The plugin is a copy of plugins/momentum in a workspace of
//! its own; both take turns, block by block.
#![forbid(unsafe_code)]

use anyhow::{Context, ensure};
use reslot::{Claim, Host};
use reslot_demo::workshop::{PLUGIN, Workshop};
use sample_interfaces::Strategy;
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use xtask::{Profile, Workspace};

const BLOCKS: u32 = 4;
const EDITS: u32 = 6;
/// Far more than a build takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> anyhow::Result<()> {
    let (blocks, edits) = if std::env::args().any(|argument| argument == "--test") {
        (1, 1)
    } else {
        (BLOCKS, EDITS)
    };
    let repository = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let workshop = Workshop::open(&repository, "bench-save", Profile::Debug)?;
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "xtask"])
        .current_dir(&repository.root)
        .status()?;
    ensure!(status.success(), "xtask does not build");

    workshop.build()?.publish()?;
    let host = Host::builder()
        .policy(reslot::Policy::without_probation())
        .watch(workshop.folder())
        .build()?;
    let mut claim = host.claim::<dyn Strategy>(PLUGIN)?;
    let (mut bare, mut live) = (Vec::new(), Vec::new());
    let mut edition = 10;
    for _ in 0..blocks {
        for _ in 0..edits {
            edition += 1;
            workshop.set_edition(edition)?;
            let begun = Instant::now();
            let status = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--lib", "--package", PLUGIN])
                .current_dir(workshop.root())
                .status()?;
            bare.push(begun.elapsed());
            ensure!(status.success(), "the copy does not build");
        }
        let mut watcher = Watcher::start(&repository, &workshop)?;
        // It builds once when it starts: what the bare builds left is published, and from there on it waits for saves.
        until_answered(&mut claim, edition)?;
        for _ in 0..edits {
            edition += 1;
            workshop.set_edition(edition)?;
            let begun = Instant::now();
            until_answered(&mut claim, edition)?;
            live.push(begun.elapsed());
        }
        watcher.stop()?;
    }

    let (bare, live) = (median(&mut bare), median(&mut live));
    println!(
        "medians of {} edits each, debug builds of `{PLUGIN}`, blocks of {edits} in turn\n",
        blocks * edits
    );
    println!(
        "bare cargo build                                   {:>7.1} ms   1.00",
        bare * 1e3
    );
    println!(
        "save to first call by the new code, --watch        {:>7.1} ms   {:.2}",
        live * 1e3,
        live / bare
    );
    let held = if live / bare <= 1.5 { "held" } else { "NOT HELD" };
    println!("\npromised: at most 1.50 of the bare build: {held}");
    Ok(())
}

/// `build-plugin --watch` on the copy's workspace.
struct Watcher(Child);

impl Watcher {
    fn start(repository: &Workspace, workshop: &Workshop) -> anyhow::Result<Self> {
        let xtask = repository.target.join("debug").join("xtask");
        Command::new(xtask)
            .args(["build-plugin", PLUGIN, "--watch", "--folder"])
            .arg(workshop.folder())
            // By this the verb finds its workspace.
            .env("CARGO_MANIFEST_DIR", workshop.root().join("xtask"))
            .stdout(Stdio::null())
            .spawn()
            .map(Self)
            .context("xtask cannot be started")
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Already gone if all went well.
        let _ = self.stop();
    }
}

fn until_answered(claim: &mut Claim<dyn Strategy>, edition: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    while claim.summary()?.edition != edition {
        ensure!(begun.elapsed() < PATIENCE, "edition {edition} did not come to answer");
        claim.sync();
        // The compiler needs the cores more than this loop does.
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
