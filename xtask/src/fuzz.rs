//! `cargo xtask fuzz [TARGET…] --minutes N`: runs the fuzz targets one after the other, and prints what each did.
//!
//! Inputs that reach new code are kept in `target/reslot/fuzz`, so the next run goes on from there. The seeds in `fuzz/corpus` are
//! few and small; `--minimise` chooses new ones from both.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use xtask::{Workspace, cargo};

use crate::paint;

/// The seeds of one target may have this many bytes.
const MOST_SEEDS: u64 = 32 << 10;
/// After this many crashes of one target, the next target is run.
const MOST_CRASHES: usize = 5;
/// libFuzzer ends a target with an input that takes longer, in seconds.
const LONGEST_INPUT: u64 = 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// The targets; all without one. Their names are those of the files in fuzz/fuzz_targets
    targets: Vec<String>,
    /// How long to run, in minutes, shared by the targets
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Choose small seeds from all inputs that were found, and write them to fuzz/corpus
    #[arg(long)]
    minimise: bool,
}

/// What the run of a target has shown.
#[derive(Debug, Default, PartialEq)]
struct Ran {
    executions: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    /// Inputs that reach different code.
    corpus: u64,
    crashes: Vec<PathBuf>,
}

/// Where the targets and their inputs are.
struct Places {
    repository: PathBuf,
    /// The inputs that were found, and the crashes.
    found: PathBuf,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let repository = crate::repository();
    let places = Places {
        found: Workspace::read(&repository)?.meeting_folder().join("fuzz"),
        repository,
    };
    let targets = places.chosen(&arguments.targets)?;
    prepare()?;
    ensure!(
        places.cargo_fuzz(&["build"]).status()?.success(),
        "the fuzz targets were not built; the compiler's messages are above"
    );
    if arguments.minimise {
        return places.minimise(&targets);
    }
    let share = Duration::from_secs(arguments.minutes * 60 / targets.len() as u64);
    let mut all = Vec::new();
    for target in &targets {
        anstream::println!("{}", paint::heading(format!("── {target} for {}", paint::seconds(share))));
        all.push(places.run(target, share)?);
    }
    Ok(summarise(&targets, &all))
}

fn summarise(targets: &[String], all: &[Ran]) -> ExitCode {
    anstream::println!("\n{}", paint::heading("── summary"));
    anstream::println!(
        "  {:<16} {:>12} {:>10} {:>8}  crashes",
        "target",
        "executions",
        "coverage",
        "corpus"
    );
    for (target, ran) in targets.iter().zip(all) {
        let crashes = match ran.crashes.len() {
            0 => paint::good("none").to_string(),
            count => paint::bad(count).to_string(),
        };
        let Ran {
            executions,
            coverage,
            corpus,
            ..
        } = ran;
        anstream::println!("  {target:<16} {executions:>12} {coverage:>10} {corpus:>8}  {crashes}");
    }
    let mut crashed = false;
    for (target, ran) in targets.iter().zip(all) {
        for file in &ran.crashes {
            crashed = true;
            paint::failure(&format!(
                "{target}: {}\n  to repeat it: cargo +nightly fuzz run {target} {}\n  when it is mended: move the file to \
                 fuzz/regressions/{target}",
                file.display(),
                file.display()
            ));
        }
    }
    if crashed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Installs cargo-fuzz if it is missing, and explains what it needs besides.
fn prepare() -> anyhow::Result<()> {
    let works = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works("cargo", &["+nightly", "--version"]) {
        bail!(
            "fuzzing needs a nightly compiler, because libFuzzer's instrumentation is unstable\n  what to do: rustup toolchain \
             install nightly --profile minimal\n  without one: cargo test -p reslot-fuzz replays the committed inputs"
        );
    }
    if !works("c++", &["--version"]) {
        bail!("fuzzing needs a C++ compiler, because libFuzzer is C++\n  what to do: apt-get install g++");
    }
    if !works("cargo", &["fuzz", "--version"]) {
        anstream::println!("installing cargo-fuzz, once");
        let installed = Command::new("cargo").args(["install", "cargo-fuzz", "--locked"]).status()?;
        ensure!(
            installed.success(),
            "cargo-fuzz was not installed\n  what to do: cargo install cargo-fuzz --locked, on a machine that is connected; the \
             program is all that is needed"
        );
    }
    Ok(())
}

impl Places {
    /// The targets of these names, or all.
    fn chosen(&self, names: &[String]) -> anyhow::Result<Vec<String>> {
        let folder = self.repository.join("fuzz/fuzz_targets");
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let stems = files.filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()));
        let known: BTreeSet<String> = stems.collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(*name)) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            bail!("there is no target {unknown:?}; there are: {}", known.join(", "));
        }
        Ok(if names.is_empty() {
            known.into_iter().collect()
        } else {
            names.to_vec()
        })
    }

    fn cargo_fuzz(&self, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().expect("a verb");
        // The proxy of rustup, which knows `+nightly`, and not the cargo that runs this verb.
        let mut command = Command::new("cargo");
        for (name, _) in cargo().get_envs() {
            command.env_remove(name);
        }
        command
            .current_dir(&self.repository)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .args(["+nightly", "fuzz", verb])
            .arg("--target-dir")
            .arg(self.found.join("build"))
            .args(rest);
        command
    }

    /// The inputs of a target: first those that were found, to which libFuzzer adds.
    fn inputs(&self, target: &str) -> anyhow::Result<Vec<PathBuf>> {
        let found = self.found.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        let committed = ["corpus", "regressions"].map(|kind| self.repository.join("fuzz").join(kind).join(target));
        Ok([found]
            .into_iter()
            .chain(committed.into_iter().filter(|folder| folder.is_dir()))
            .collect())
    }

    /// Runs a target for this long. After a crash it goes on with the rest of the time.
    fn run(&self, target: &str, share: Duration) -> anyhow::Result<Ran> {
        let crashes = self.found.join("crashes").join(target);
        fs::create_dir_all(&crashes).with_context(|| format!("cannot make {}", crashes.display()))?;
        let before = files_in(&crashes)?;
        let (begun, mut all) = (Instant::now(), Ran::default());
        loop {
            let left = share.saturating_sub(begun.elapsed()).as_secs().max(1);
            let mut command = self.cargo_fuzz(&["run", target]);
            command.args(self.inputs(target)?).arg("--").args([
                format!("-max_total_time={left}"),
                format!("-timeout={LONGEST_INPUT}"),
                format!("-artifact_prefix={}/", crashes.display()),
                "-print_final_stats=1".to_owned(),
                "-max_len=8192".to_owned(),
            ]);
            let mut child = command.stderr(Stdio::piped()).spawn().context("cannot start cargo fuzz")?;
            let mut lines = child
                .stderr
                .take()
                .into_iter()
                .flat_map(|stderr| BufReader::new(stderr).lines());
            let ran = read(lines.by_ref().map_while(Result::ok));
            let ended = child.wait()?;
            all.executions += ran.executions;
            (all.coverage, all.corpus) = (ran.coverage.max(all.coverage), ran.corpus.max(all.corpus));
            all.crashes = files_in(&crashes)?.difference(&before).cloned().collect();
            if ended.success() {
                return Ok(all);
            }
            ensure!(
                !all.crashes.is_empty(),
                "the target {target} ended with {ended} and has kept no input; its messages are above"
            );
            if all.crashes.len() >= MOST_CRASHES || begun.elapsed() >= share {
                return Ok(all);
            }
        }
    }

    /// Replaces the seeds by the smallest inputs that reach the most.
    fn minimise(&self, targets: &[String]) -> anyhow::Result<ExitCode> {
        for target in targets {
            let merged = tempfile::tempdir().context("cannot make a folder")?;
            let mut command = self.cargo_fuzz(&["run", target]);
            command
                .arg(merged.path())
                .args(self.inputs(target)?)
                .args(["--", "-merge=1", "-max_len=8192"]);
            ensure!(
                command.status()?.success(),
                "the inputs of {target} were not merged; the reason is above"
            );
            let mut files: Vec<(u64, PathBuf)> = files_in(merged.path())?
                .into_iter()
                .map(|file| Ok((fs::metadata(&file)?.len(), file)))
                .collect::<anyhow::Result<_>>()?;
            files.sort();
            let seeds = self.repository.join("fuzz/corpus").join(target);
            let mut bytes: u64 = files_in(&seeds)?
                .iter()
                .filter_map(|file| Some(fs::metadata(file).ok()?.len()))
                .sum();
            let mut taken = 0;
            for (len, file) in files {
                bytes += len;
                if bytes > MOST_SEEDS {
                    break;
                }
                let name = file.file_name().context("a file has a name")?;
                fs::copy(&file, seeds.join(name)).with_context(|| format!("cannot write to {}", seeds.display()))?;
                taken += 1;
            }
            anstream::println!("{target}: {taken} inputs were added to {}", seeds.display());
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn files_in(folder: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Reads libFuzzer's output, and prints what is of use.
fn read(lines: impl Iterator<Item = String>) -> Ran {
    let mut ran = Ran::default();
    for line in lines {
        let is_progress = line.starts_with('#');
        if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
            ran.executions = number.trim().parse().unwrap_or(ran.executions);
        } else if is_progress {
            let mut words = line.split_whitespace();
            let at = words.next().and_then(|word| word.strip_prefix('#')?.parse().ok());
            ran.executions = at.unwrap_or(ran.executions);
            while let Some(word) = words.next() {
                let number = |words: &mut std::str::SplitWhitespace<'_>| words.next()?.split('/').next()?.parse().ok();
                match word {
                    "cov:" => ran.coverage = number(&mut words).unwrap_or(ran.coverage),
                    "corp:" => ran.corpus = number(&mut words).unwrap_or(ran.corpus),
                    _ => {}
                }
            }
        }
        let is_quiet = is_progress && !(line.contains("INITED") || line.contains("pulse") || line.contains("DONE"));
        if !is_quiet && !line.starts_with("INFO:") && !line.starts_with("stat::") {
            eprintln!("{line}");
        }
    }
    ran
}

#[cfg(test)]
mod tests {
    use super::{Ran, read};

    #[test]
    fn numbers_are_read_from_the_output_of_a_target() {
        let output = "INFO: Seed: 1\n#2\tINITED cov: 12 ft: 13 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                      #512\tNEW    cov: 40 ft: 60 corp: 7/90b lim: 4 exec/s: 0 rss: 31Mb L: 3/3 MS: 1 CMP-\n\
                      #1024\tDONE   cov: 41 ft: 66 corp: 9/120b lim: 4 exec/s: 0 rss: 31Mb\n\
                      stat::number_of_executed_units: 1024\nstat::average_exec_per_sec:     0\n";
        let ran = read(output.lines().map(str::to_owned));
        let expected = Ran {
            executions: 1024,
            coverage: 41,
            corpus: 9,
            crashes: Vec::new(),
        };
        assert_eq!(ran, expected);
    }
}
