//! `cargo xtask demo sandbox`: four plugins misbehave, one after the other, in a sandbox of WebAssembly and in processes of their own. The host ends
//! each of them with a typed error, and rolls its slot back, while a fifth plugin is called all the time. The last screen is a table of what was
//! done, and how long it took.
#![forbid(unsafe_code)]

use anyhow::{Context, bail, ensure};
use fx_sandboxed::{Misdeed, Sandboxed, Sink, Tick};
use reslot::{Claim, Engine, Fault, Host, Policy, SyncOutcome};
use reslot_process::{Process, Sandbox};
use reslot_wasm::{Checkpoint, Wasm};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a call may take.
const DEADLINE: Duration = Duration::from_millis(100);
/// The memory of a plugin.
const MEMORY: usize = 64 << 20;
/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A plugin that misbehaves.
struct Misbehaving {
    slot: &'static str,
    what: &'static str,
    /// None: it tries to get out.
    how: Option<Misdeed>,
}

const MISBEHAVING: [Misbehaving; 5] = [
    Misbehaving {
        slot: "endless",
        what: "loops for ever",
        how: Some(Misdeed::Loop),
    },
    Misbehaving {
        slot: "eats",
        what: "eats all memory",
        how: Some(Misdeed::Eat),
    },
    Misbehaving {
        slot: "wild",
        what: "writes through a wild pointer",
        how: Some(Misdeed::WildPointer),
    },
    Misbehaving {
        slot: "aborts",
        what: "ends its process",
        how: Some(Misdeed::Abort),
    },
    Misbehaving {
        slot: "escapes",
        what: "starts a program, opens a socket, reads a file",
        how: None,
    },
];

/// What the host did about it.
struct Row {
    engine: &'static str,
    what: &'static str,
    answer: String,
    took: Duration,
    rolled_back: Option<Duration>,
    calls_of_others: u64,
}

fn main() -> anyhow::Result<()> {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [module, library, child] = &files[..] else {
        bail!("usage: sandbox MODULE LIBRARY CHILD    as `cargo xtask demo sandbox` starts it");
    };
    let wasm = Wasm::new()
        .memory(MEMORY)
        .call_deadline(DEADLINE)
        .checkpoint(Checkpoint::EveryCalls(1));
    let process = Process::new()
        .program(child)
        .memory(MEMORY as u64)
        .call_deadline(DEADLINE)
        .sandbox(Sandbox::strict())
        .checkpoint(Checkpoint::EveryCalls(1));
    let mut rows = run("wasm", Arc::new(wasm), module)?;
    rows.extend(run("process", Arc::new(process), library)?);
    table(&rows);
    Ok(())
}

/// Runs all plugins in one engine.
fn run(engine: &'static str, with: Arc<dyn Engine>, artifact: &Path) -> anyhow::Result<Vec<Row>> {
    println!(
        "\n{engine}: a host with {} plugins, of which one is called all the time",
        MISBEHAVING.len() + 1
    );
    let folder = tempfile::tempdir()?;
    let (first, second) = two_builds(artifact, folder.path())?;
    let mut builder = Host::builder().policy(Policy::development().probation(Duration::from_secs(3600)));
    for slot in MISBEHAVING.iter().map(|one| one.slot).chain([STEADY]) {
        builder = builder.engine(slot, with.clone());
    }
    let host = builder.build()?;
    for slot in MISBEHAVING.iter().map(|one| one.slot).chain([STEADY]) {
        host.load_as(slot, &first)?;
    }
    let steady = Steady::start(host.claim(STEADY)?);
    let mut rows = Vec::new();
    for one in &MISBEHAVING {
        rows.push(misbehave(&host, engine, one, &second, &steady)?);
    }
    let (calls, failed) = steady.end();
    println!("  {STEADY}: {calls} calls, {failed} failed");
    ensure!(failed == 0, "calls of another plugin failed");
    Ok(rows)
}

const STEADY: &str = "steady";

/// Two builds of the plugin that differ only in a part that nothing reads.
fn two_builds(artifact: &Path, folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let mut bytes = std::fs::read(artifact).with_context(|| format!("{} cannot be read", artifact.display()))?;
    let ends = artifact.extension().context("it has no ending")?;
    let (first, second) = (
        folder.join("first").with_extension(ends),
        folder.join("second").with_extension(ends),
    );
    std::fs::write(&first, &bytes)?;
    // In a module, a section that has a name and nothing else; a library may end with anything.
    bytes.extend_from_slice(b"\0\x05\x04twin");
    std::fs::write(&second, &bytes)?;
    Ok((first, second))
}

/// A build that misbehaves comes to serve, does so, and the slot is rolled back.
fn misbehave(host: &Host, engine: &'static str, one: &Misbehaving, build: &Path, steady: &Steady) -> anyhow::Result<Row> {
    let mut plugin = host.claim::<dyn Sandboxed>(one.slot)?;
    plugin.on_tick(&Tick { price: 10, quantity: 2 }, &mut Quiet)?;
    host.load_as(one.slot, build)?;
    ensure!(
        matches!(Claim::sync(&mut plugin), SyncOutcome::Adopted { .. }),
        "the new build is adopted"
    );
    plugin.on_tick(&Tick { price: 10, quantity: 2 }, &mut Quiet)?;
    let (before, began) = (steady.calls(), Instant::now());
    let answer = match one.how {
        Some(how) => plugin.misbehave(how).map(|()| "it came back".to_owned()),
        None => plugin.escape(),
    };
    let took = began.elapsed();
    let calls_of_others = steady.calls() - before;
    let (answer, rolled_back) = match answer {
        Ok(words) => (words, None),
        Err(error) => {
            let words = match error.fault() {
                Fault::InstanceEnded(end) => end.to_string(),
                _ => error.to_string(),
            };
            let began = Instant::now();
            while !matches!(Claim::sync(&mut plugin), SyncOutcome::RolledBack { .. }) {
                ensure!(began.elapsed() < PATIENCE, "{} was not rolled back", one.slot);
                thread::yield_now();
            }
            (words, Some(began.elapsed()))
        }
    };
    // The earlier build, or the one that nothing happened to, answers with the state.
    ensure!(plugin.sum()? == 40, "{} has lost its state", one.slot);
    println!("  {}: {answer}", one.what);
    match rolled_back {
        Some(time) => println!(
            "    stopped after {took:.1?}; rolled back in {time:.1?}; meanwhile {calls_of_others} calls of {STEADY}"
        ),
        None => println!("    it goes on"),
    }
    Ok(Row {
        engine,
        what: one.what,
        answer,
        took,
        rolled_back,
        calls_of_others,
    })
}

fn table(rows: &[Row]) {
    println!(
        "\n| what the plugin does | engine | what the host did | after | rolled back in | calls of the others meanwhile |"
    );
    println!("|---|---|---|---:|---:|---:|");
    for row in rows {
        let back = row.rolled_back.map_or("-".to_owned(), |time| format!("{time:.1?}"));
        println!(
            "| {} | {} | {} | {:.1?} | {back} | {} |",
            row.what, row.engine, row.answer, row.took, row.calls_of_others
        );
    }
    println!("\nA plugin that runs native can do all of this to the program that loads it.");
}

struct Quiet;

impl Sink for Quiet {
    fn sum(&mut self, sum: u64) -> u64 {
        sum
    }
}

/// A plugin that is called all the time.
struct Steady {
    counts: Arc<Counts>,
    thread: thread::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failed: AtomicU64,
    ends: AtomicBool,
}

impl Steady {
    fn start(plugin: Claim<dyn Sandboxed>) -> Self {
        let counts = Arc::new(Counts::default());
        let of_thread = counts.clone();
        let thread = thread::spawn(move || {
            while !of_thread.ends.load(Ordering::Relaxed) {
                match plugin.sum() {
                    Ok(_) => of_thread.calls.fetch_add(1, Ordering::Relaxed),
                    Err(_) => of_thread.failed.fetch_add(1, Ordering::Relaxed),
                };
            }
        });
        Self { counts, thread }
    }

    fn calls(&self) -> u64 {
        self.counts.calls.load(Ordering::Relaxed)
    }

    fn end(self) -> (u64, u64) {
        self.counts.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        (count(&self.counts.calls), count(&self.counts.failed))
    }
}
