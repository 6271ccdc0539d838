//! The compiler by itself, with the command line that cargo gives it, and cargo by itself: what each part of a build takes, and
//! what other settings would save of it. All take turns, edit by edit.

use crate::{Editions, in_workshop};
use anyhow::{Context, ensure};
use reslot_bench::{Report, Row, Samples, millis, only_a_test};
use reslot_demo::workshop::{PLUGIN, Workshop};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use xtask::{Workspace, cargo};

const ROUNDS: u32 = 12;
/// Rounds that are not counted: what is incremental has to be there first.
const WARM: u32 = 2;

const RUSTC: &str = "rustc alone, as the bare build calls it";
const UNLINKED: &str = "without linking";
const NOTHING: &str = "cargo with nothing to do";

/// What is tried, and the arguments that ask rustc for it; the later of two equal ones counts.
const COMPILED: [(&str, &[&str]); 10] = [
    (RUSTC, &[]),
    (UNLINKED, &["-Clinker=true"]),
    ("64 codegen units", &["-Ccodegen-units=64"]),
    ("16 codegen units", &["-Ccodegen-units=16"]),
    ("1 codegen unit", &["-Ccodegen-units=1"]),
    ("no line tables of its own", &["-Cdebuginfo=0"]),
    ("full debug information of its own", &["-Cdebuginfo=2"]),
    ("stripped of all debug information", &["-Cstrip=debuginfo"]),
    ("a linker that optimises nothing (-O0)", &["-Clink-arg=-Wl,-O0"]),
    ("optimised, opt-level 1", &["-Copt-level=1"]),
];

const CARGO: [(&str, &[&str]); 3] = [
    (NOTHING, &[]),
    ("the same --offline", &["--offline"]),
    ("the same --frozen", &["--frozen"]),
];

type Publish = fn(&Path, &Path) -> anyhow::Result<()>;
const PUBLISH: &str = "publish, as build-plugin does";
const PUBLISHED: [(&str, Publish); 3] = [
    (PUBLISH, |library, folder| Ok(xtask::publish(library, folder).map(drop)?)),
    ("read, compare, write, rename", read_and_write),
    ("hard link, rename", link),
];

pub fn report(
    report: &mut Report,
    repository: &Workspace,
    workshop: &Workshop,
    editions: &mut Editions,
) -> anyhow::Result<()> {
    let compiler = Compiler::ask(repository, workshop, editions)?;
    let (warm, rounds) = if only_a_test() { (0, 1) } else { (WARM, ROUNDS) };
    let mut compiled = COMPILED.map(|_| Samples::new());
    let mut with_cargo = CARGO.map(|_| Samples::new());
    let mut published = PUBLISHED.map(|_| Samples::new());
    let folder = tempfile::tempdir_in(workshop.root())?;
    for round in 0..warm + rounds {
        for ((number, (_, arguments)), samples) in COMPILED.iter().enumerate().zip(&mut compiled) {
            workshop.set_edition(editions.next())?;
            let took = compiler.run(workshop, number, arguments)?;
            if round >= warm {
                samples.push(millis(took));
            }
        }
        // One that has something to do, so that the others have not.
        cargo_build(workshop, &[])?;
        for ((_, arguments), samples) in CARGO.iter().zip(&mut with_cargo) {
            let took = cargo_build(workshop, arguments)?;
            if round >= warm {
                samples.push(millis(took));
            }
        }
        let library = compiler.library(round)?;
        for ((name, how), samples) in PUBLISHED.iter().zip(&mut published) {
            let folder = folder.path().join(name);
            let begun = Instant::now();
            how(&library, &folder)?;
            if round >= warm {
                samples.push(millis(begun.elapsed()));
            }
        }
    }

    let (rustc, unlinked) = (&compiled[0], &compiled[1]);
    let link = rustc.less(unlinked);
    report.row(Row::new(NOTHING, &with_cargo[0], "ms"));
    report.row(Row::new(RUSTC, rustc, "ms"));
    report.row(Row::new("of that, linking: the difference without", &link, "ms"));
    report.heading("What other settings save: the compiler alone");
    for ((name, _), samples) in COMPILED.iter().zip(&compiled) {
        let row = Row::new(*name, samples, "ms");
        report.row(if *name == RUSTC {
            row
        } else {
            row.against(RUSTC, &samples.over(rustc))
        });
    }
    report.heading("What other settings save: cargo alone");
    for ((name, _), samples) in CARGO.iter().zip(&with_cargo) {
        let row = Row::new(*name, samples, "ms");
        report.row(if *name == NOTHING {
            row
        } else {
            row.against(NOTHING, &samples.over(&with_cargo[0]))
        });
    }
    report.heading("What other settings save: publishing alone");
    for ((name, _), samples) in PUBLISHED.iter().zip(&published) {
        let row = Row::new(*name, samples, "ms");
        report.row(if *name == PUBLISH {
            row
        } else {
            row.against(PUBLISH, &samples.over(&published[0]))
        });
    }
    Ok(())
}

/// As it would be without the file system's help.
fn read_and_write(library: &Path, folder: &Path) -> anyhow::Result<()> {
    let (file, hidden) = (folder.join("file.so"), folder.join(".hidden"));
    let content = fs::read(library)?;
    if fs::read(&file).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    fs::write(&hidden, content)?;
    Ok(fs::rename(hidden, file)?)
}

/// What is not done: a linker that writes into its old output would write into what hosts see.
fn link(library: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::hard_link(library, folder.join(".hidden"))?;
    Ok(fs::rename(folder.join(".hidden"), folder.join("file.so"))?)
}

/// What an author types who knows of nothing else, with these arguments more.
pub fn cargo_build(workshop: &Workshop, arguments: &[&str]) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let status = in_workshop(workshop, cargo())
        .args(["build", "--quiet", "--lib", "--package", PLUGIN])
        .args(arguments)
        .status()?;
    ensure!(status.success(), "the copy does not build");
    Ok(begun.elapsed())
}

/// The compiler's command line as a shell takes it, environment and all, with `OUT` and `INCREMENTAL` for its folders.
struct Compiler {
    line: String,
    folder: PathBuf,
}

impl Compiler {
    /// Has cargo tell it.
    fn ask(repository: &Workspace, workshop: &Workshop, editions: &mut Editions) -> anyhow::Result<Self> {
        workshop.set_edition(editions.next())?;
        let output = in_workshop(workshop, cargo())
            .args(["build", "-vv", "--lib", "--package", PLUGIN])
            .output()?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let running = told.lines().filter_map(|line| line.trim().strip_prefix("Running `"));
        let line = running
            .filter_map(|line| line.strip_suffix('`'))
            .find(|line| line.contains(&format!("CARGO_PKG_NAME={PLUGIN} ")))
            .context("cargo told no command line of the compiler")?;
        let debug = repository.target.join("debug");
        let line = line
            .replace(&format!("--out-dir {}", debug.join("deps").display()), "--out-dir \"$OUT\"")
            .replace(
                &format!("-C incremental={}", debug.join("incremental").display()),
                "-C incremental=\"$INCREMENTAL\"",
            );
        ensure!(
            line.contains("$OUT") && line.contains("$INCREMENTAL"),
            "cargo's command line is not as expected: {line}"
        );
        let folder = repository.target.join("bench").join("save-rustc");
        Ok(Self { line, folder })
    }

    /// What was compiled last as the bare build does, under a name of this round.
    fn library(&self, round: u32) -> anyhow::Result<PathBuf> {
        let file = format!("libdemo_{PLUGIN}.so");
        let (from, to) = (self.folder.join("0").join("out").join(file), self.folder.join("published.so"));
        let mut content = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        // At its end, which nobody reads: as different as two builds are.
        content.extend(round.to_le_bytes());
        if to.exists() {
            fs::remove_file(&to)?;
        }
        fs::write(&to, content)?;
        Ok(to)
    }

    /// Compiles what the source is now, with these arguments more.
    fn run(&self, workshop: &Workshop, number: usize, arguments: &[&str]) -> anyhow::Result<Duration> {
        let folder = self.folder.join(number.to_string());
        let out = folder.join("out");
        fs::create_dir_all(&out)?;
        let begun = Instant::now();
        let status = in_workshop(workshop, Command::new("sh"))
            .args(["-c", &format!("exec env {} \"$@\"", self.line), "rustc"])
            .args(arguments)
            .env("OUT", out)
            .env("INCREMENTAL", folder.join("incremental"))
            .stderr(Stdio::null())
            .status()?;
        ensure!(
            status.success(),
            "the compiler alone does not build the copy {arguments:?}: {}",
            self.line
        );
        Ok(begun.elapsed())
    }
}
