//! `build-plugin --watch` on the copy's workspace, and a host in this process that watches the folder to which it
//! publishes.

use crate::{Editions, PATIENCE};
use anyhow::{Context, ensure};
use reslot::{Claim, Host, Policy};
use reslot_bench::{Samples, millis};
use reslot_demo::workshop::{PLUGIN, Workshop};
use sample_interfaces::Strategy;
use std::{
    io::{BufRead, BufReader, Lines},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtask::Workspace;

pub struct Ours {
    program: PathBuf,
    claim: Claim<dyn Strategy>,
    _host: Host,
    notice: Samples,
    build: Samples,
    publish: Samples,
    reload: Samples,
}

impl Ours {
    pub fn new(repository: &Workspace, workshop: &Workshop) -> anyhow::Result<Self> {
        workshop.build()?.publish()?;
        let host = Host::builder()
            .policy(Policy::without_probation())
            .watch(workshop.folder())
            .build()?;
        Ok(Self {
            program: repository.target.join("debug").join("xtask"),
            claim: host.claim::<dyn Strategy>(PLUGIN)?,
            _host: host,
            notice: Samples::new(),
            build: Samples::new(),
            publish: Samples::new(),
            reload: Samples::new(),
        })
    }

    /// Saves that many edits, each after the one before has come to answer; how long each took.
    pub fn block(&mut self, workshop: &Workshop, editions: &mut Editions, edits: u32) -> anyhow::Result<Vec<Duration>> {
        let edition = editions.next();
        workshop.set_edition(edition)?;
        let mut watcher = Watcher::start(self, workshop)?;
        // It builds once when it starts, and from there on it waits for saves.
        self.until_answered(edition)?;
        watcher.times()?;
        let mut took = Vec::new();
        for _ in 0..edits {
            let edition = editions.next();
            let saved = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let begun = Instant::now();
            workshop.set_edition(edition)?;
            self.until_answered(edition)?;
            let live = begun.elapsed();
            took.push(live);
            let [started, built, published] = watcher.times()?;
            let notice = started.saturating_sub(saved);
            self.notice.push(millis(notice));
            self.build.push(millis(built));
            self.publish.push(millis(published.saturating_sub(built)));
            self.reload.push(millis(live.saturating_sub(notice + published)));
        }
        Ok(took)
    }

    /// Of all blocks so far.
    pub fn parts(&self) -> [(&'static str, &Samples); 4] {
        [
            ("notice: save to start of cargo", &self.notice),
            ("cargo: its start to the finished library", &self.build),
            ("publish: copy and rename", &self.publish),
            ("host: rename to first new answer", &self.reload),
        ]
    }

    fn until_answered(&mut self, edition: u32) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.claim.summary()?.edition != edition {
            ensure!(begun.elapsed() < PATIENCE, "edition {edition} did not come to answer");
            let _ = Claim::sync(&mut self.claim);
            // The compiler needs the cores more than this loop does.
            thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }
}

struct Watcher {
    program: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Watcher {
    fn start(ours: &Ours, workshop: &Workshop) -> anyhow::Result<Self> {
        let mut program = Command::new(&ours.program)
            .args(["build-plugin", PLUGIN, "--watch", "--times", "--folder"])
            .arg(workshop.folder())
            // By this the verb finds its workspace.
            .env("CARGO_MANIFEST_DIR", workshop.root().join("xtask"))
            .stdout(Stdio::piped())
            .spawn()
            .context("xtask cannot be started")?;
        let says = program.stdout.take().context("its output is piped")?;
        Ok(Self {
            program,
            says: BufReader::new(says).lines(),
        })
    }

    /// Of its next build: when cargo was started, and how long after that the library was finished, and published.
    fn times(&mut self) -> anyhow::Result<[Duration; 3]> {
        for line in &mut self.says {
            let line = line?;
            let Some(figures) = line.strip_prefix("times ") else {
                continue;
            };
            let figures: Vec<u64> = figures.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            let figures: [u64; 3] = figures.try_into().ok().context("three figures")?;
            return Ok(figures.map(Duration::from_nanos));
        }
        anyhow::bail!("build-plugin --watch ended")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Nothing is being built, and what it has published stays. It may have ended by itself.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
