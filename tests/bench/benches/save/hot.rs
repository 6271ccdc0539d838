//! hot-lib-reloader with cargo-watch, as its README recommends: `cargo watch -w lib -x 'build -p lib'` beside the running program.
//! What is copied from save-hot becomes a workspace of its own under the target folder.

use crate::{Editions, PATIENCE};
use anyhow::{Context, ensure};
use std::{
    env, fs,
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use xtask::{Workspace, cargo};

/// How patient both of its watches are.
pub struct Way {
    pub name: &'static str,
    program: &'static str,
    delay: &'static str,
}

/// Its own defaults, the least that its README speaks of, and as impatient as it still works.
pub const WAYS: [Way; 3] = [
    Way {
        name: "hot-lib-reloader 0.8.2, cargo-watch: defaults, 500 ms",
        program: "500",
        delay: "0.5",
    },
    Way {
        name: "hot-lib-reloader, cargo-watch: each 20 ms",
        program: "20",
        delay: "0.02",
    },
    Way {
        name: "hot-lib-reloader, cargo-watch: 2 ms and none",
        program: "2",
        delay: "0",
    },
];

pub struct Hot {
    root: PathBuf,
    tools: PathBuf,
}

impl Hot {
    pub fn prepare(repository: &Workspace) -> anyhow::Result<Self> {
        let bench = repository.target.join("bench");
        let hot = Self {
            root: bench.join("save-hot"),
            tools: bench.join("tools"),
        };
        if !hot.tools.join("bin").join("cargo-watch").is_file() {
            println!(
                "installing cargo-watch, with which hot-lib-reloader is used, into {}: once, some minutes",
                hot.tools.display()
            );
            let status = cargo()
                .args(["install", "--quiet", "--locked", "cargo-watch", "--root"])
                .arg(&hot.tools)
                .status()?;
            ensure!(
                status.success(),
                "cargo-watch cannot be installed; `--without-peers` does without"
            );
        }
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("save-hot");
        for (from, to) in [
            ("Cargo.toml.in", "Cargo.toml"),
            ("src/main.rs", "src/main.rs"),
            ("lib/Cargo.toml.in", "lib/Cargo.toml"),
            ("lib/src/lib.rs", "lib/src/lib.rs"),
        ] {
            let text = fs::read_to_string(template.join(from)).with_context(|| format!("cannot read {from}"))?;
            let to = hot.root.join(to);
            fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            // Left alone if it is the same, so that the program is not built again.
            if fs::read_to_string(&to).ok().as_ref() != Some(&text) {
                fs::write(&to, text)?;
            }
        }
        println!("building hot-lib-reloader's program: the first time takes some minutes");
        // The library last and by itself, as cargo-watch will build it.
        for what in [["--package", "bin"], ["--package", "lib"]] {
            let status = hot.command(cargo()).args(["build", "--quiet"]).args(what).status()?;
            ensure!(status.success(), "hot-lib-reloader's program does not build");
        }
        Ok(hot)
    }

    /// In its workspace, where the program expects its library in `target`.
    fn command(&self, mut command: Command) -> Command {
        command.current_dir(&self.root).env_remove("CARGO_TARGET_DIR");
        command
    }

    /// Saves that many edits, each after the one before has come to answer; how long each took.
    pub fn block(&self, way: &Way, editions: &mut Editions, edits: u32) -> anyhow::Result<Vec<Duration>> {
        let mut path = vec![self.tools.join("bin")];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let watch = self
            .command(cargo())
            .args(["watch", "-w", "lib", "-d", way.delay, "-x", "build -p lib"])
            .env("PATH", env::join_paths(path)?)
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut watch = Program::new(watch)?;
        // It builds once when it starts.
        watch.until(|line| line.starts_with("[Finished running").then_some(()))?;
        let program = self
            .command(Command::new(self.root.join("target").join("debug").join("bin")))
            .arg(way.program)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut program = Program::new(program)?;
        program.until(|_| Some(()))?;

        let mut took = Vec::new();
        // The first one is not counted: only after it is known that both watch.
        for count in 0..=edits {
            let edition = editions.next();
            let saved = SystemTime::now().duration_since(UNIX_EPOCH)?;
            self.set_edition(edition)?;
            let answered = program.until(|line| {
                let (found, at) = line.split_once(' ')?;
                (found.parse() == Ok(edition)).then(|| at.parse().ok())?
            })?;
            if count > 0 {
                took.push(Duration::from_nanos(answered).saturating_sub(saved));
            }
            watch.until(|line| line.starts_with("[Finished running").then_some(()))?;
        }
        Ok(took)
    }

    fn set_edition(&self, edition: u32) -> anyhow::Result<()> {
        let source = self.root.join("lib").join("src").join("lib.rs");
        let text = fs::read_to_string(&source)?;
        let lines = text.lines().map(|line| match line.starts_with("const EDITION") {
            true => format!("const EDITION: u32 = {edition};\n"),
            false => format!("{line}\n"),
        });
        let text = lines.collect::<String>();
        Ok(fs::write(&source, text)?)
    }
}

/// A program that is listened to, and ended when nobody listens any more.
struct Program {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn new(mut child: Child) -> anyhow::Result<Self> {
        let says = child.stdout.take().context("its output is piped")?;
        Ok(Self {
            child,
            says: BufReader::new(says).lines(),
        })
    }

    /// Passes over lines until one is what is waited for.
    fn until<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let begun = Instant::now();
        for line in &mut self.says {
            if let Some(found) = wanted(&line?) {
                return Ok(found);
            }
            ensure!(begun.elapsed() < PATIENCE, "hot-lib-reloader's side does not answer");
        }
        anyhow::bail!("hot-lib-reloader's side ended")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
