//! `cargo xtask compare go`: measures what Go's `plugin` package does with a replaced file, and what each version costs.
//!
//! A Go host opens a plugin; the file at the same path is replaced by a build of changed source (by rename, as a careful
//! publisher does); it opens the path again. Then a fresh host loads twenty versions, each a package of its own because Go
//! refuses a second build of one package, and counts mappings and resident memory after each. Nothing needs the network, and
//! everything is written to a temporary folder, save Go's build cache in the target folder.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use xtask::Workspace;
use xtask::go::GoFigures;

use crate::paint;

const HOST: &str = include_str!("../data/go/host.go");
const PLUGIN: &str = include_str!("../data/go/plugin.go");
const VERSIONS: u32 = 20;

#[derive(clap::Args)]
pub struct Arguments {
    /// The other system
    system: System,
}

#[derive(Clone, Copy, ValueEnum)]
enum System {
    /// Go's standard package `plugin`
    Go,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let System::Go = arguments.system;
    let target = Workspace::read(&crate::repository())?.target;
    let Some(version) = go_version() else {
        anstream::println!(
            "{}",
            paint::caution("Go is not on the PATH, so nothing was measured; these figures are recorded:")
        );
        print(&GoFigures::recorded());
        anstream::println!("to measure here: apt-get install golang-go gcc, then `cargo xtask compare go` again");
        return Ok(ExitCode::SUCCESS);
    };
    let figures = measure(version, &target)?;
    print(&figures);
    let file = figures.save(&target)?;
    anstream::println!("{}", paint::dim(format!("written to {}", file.display())));
    Ok(ExitCode::SUCCESS)
}

fn print(figures: &GoFigures) {
    for line in figures.in_words() {
        anstream::println!("  {line}");
    }
}

fn go_version() -> Option<String> {
    let output = Command::new("go")
        .arg("version")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.trim().trim_start_matches("go version ").to_owned())
}

fn measure(go_version: String, target: &Path) -> anyhow::Result<GoFigures> {
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let go = Go {
        folder: scratch.path(),
        cache: target.join("reslot").join("go-cache"),
    };
    go.write("go.mod", "module reslot.example/compare\n\ngo 1.18\n")?;
    go.write("host/main.go", HOST)?;
    progress("building the Go host and the first plugin (the first time also Go's own library: about a minute)");
    go.build(&["-o", "host.bin", "./host"])?;

    go.write("greeter/plugin.go", &PLUGIN.replace("@VERSION@", "old code"))?;
    go.build_plugin("greeter.so", "./greeter")?;
    go.write("greeter/plugin.go", &PLUGIN.replace("@VERSION@", "new code"))?;
    go.build_plugin("greeter-new.so", "./greeter")?;
    fs::copy(scratch.path().join("greeter-new.so"), scratch.path().join("greeter-other.so"))
        .context("cannot copy the plugin")?;
    let (same_path_answer, other_path_answer) = go.same_path()?;

    progress(&format!("building {VERSIONS} versions, each a package of its own"));
    let files: Vec<String> = (1..=VERSIONS).map(|version| format!("v{version}.so")).collect();
    for (file, version) in files.iter().zip(1..) {
        go.write(
            &format!("v{version}/plugin.go"),
            &PLUGIN.replace("@VERSION@", &format!("version {version}")),
        )?;
        go.build_plugin(file, &format!("./v{version}"))?;
    }
    let samples = go.many(&files)?;
    let (mappings_per_version, bytes_per_version) = growth(&samples).context("too few versions were loaded to compare")?;
    Ok(GoFigures {
        measured: true,
        date: today(),
        source: "cargo xtask compare go, on this machine".to_owned(),
        go_version,
        same_path_answer,
        other_path_answer,
        versions: VERSIONS,
        mappings_per_version,
        mib_per_version: (bytes_per_version / 1048576.0 * 100.0).round() / 100.0,
        unloadable: false,
    })
}

fn progress(text: &str) {
    anstream::eprintln!("{}", paint::dim(format!("… {text}")));
}

/// Go in a folder of its own, unable to reach a network.
struct Go<'a> {
    folder: &'a Path,
    cache: std::path::PathBuf,
}

impl Go<'_> {
    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let file = self.folder.join(file);
        let folder = file.parent().unwrap_or(self.folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    fn build_plugin(&self, output: &str, package: &str) -> anyhow::Result<()> {
        self.build(&["-buildmode=plugin", "-o", output, package])
    }

    fn build(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let status = Command::new("go")
            .current_dir(self.folder)
            .env("GOCACHE", &self.cache)
            .env("GOPATH", self.folder.join("gopath"))
            .envs([
                ("GO111MODULE", "on"),
                ("GOFLAGS", "-mod=mod"),
                ("GOPROXY", "off"),
                ("GOTOOLCHAIN", "local"),
                ("CGO_ENABLED", "1"),
            ])
            .arg("build")
            .args(arguments)
            .status()
            .context("cannot start go")?;
        ensure!(
            status.success(),
            "go build {} failed ({status}); plugins need cgo: is gcc installed?",
            arguments.join(" ")
        );
        Ok(())
    }

    /// Which code runs after the file at the same path was replaced, and the result of opening the new build under another
    /// name.
    fn same_path(&self) -> anyhow::Result<(String, String)> {
        let mut host = Command::new(self.folder.join("host.bin"))
            .args([
                "same-path".as_ref(),
                self.folder.join("greeter.so").as_os_str(),
                self.folder.join("greeter-other.so").as_os_str(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the Go host")?;
        let mut input = host.stdin.take().context("the Go host has no input")?;
        let mut lines = BufReader::new(host.stdout.take().context("the Go host has no output")?).lines();
        let mut next = |what: &str| -> anyhow::Result<String> {
            let line = lines.next().context("the Go host ended early")??;
            value(&line, what)
                .map(str::to_owned)
                .with_context(|| format!("the Go host said {line:?} instead of {what}"))
        };
        let before = next("before")?;
        ensure!(before == "old code", "the first plugin answers {before:?}");
        fs::rename(self.folder.join("greeter-new.so"), self.folder.join("greeter.so"))
            .context("cannot replace the plugin")?;
        writeln!(input, "replaced").context("cannot write to the Go host")?;
        let after = next("after")?;
        let other = next("other_path")?.replace(&format!("{}/", self.folder.display()), "");
        let status = host.wait().context("cannot wait for the Go host")?;
        ensure!(status.success(), "the Go host ended with {status}");
        Ok((after, other))
    }

    /// Mappings and resident bytes after each of the plugins.
    fn many(&self, files: &[String]) -> anyhow::Result<Vec<(f64, f64)>> {
        let host = Command::new(self.folder.join("host.bin"))
            .arg("many")
            .args(files.iter().map(|file| self.folder.join(file)))
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start the Go host")?;
        ensure!(host.status.success(), "the Go host ended with {}", host.status);
        Ok(String::from_utf8_lossy(&host.stdout).lines().filter_map(sample).collect())
    }
}

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.strip_prefix('=')
}

fn sample(line: &str) -> Option<(f64, f64)> {
    let (mappings, resident) = value(line, "sample")?.split_once(' ')?;
    Some((mappings.parse().ok()?, resident.parse().ok()?))
}

/// Mean growth from the first sample to the last; the first version is not counted, because it also loads what all versions
/// share.
fn growth(samples: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (first, last) = (samples.first()?, samples.last()?);
    let steps = samples.len().checked_sub(1).filter(|steps| *steps > 0)? as f64;
    Some(((last.0 - first.0) / steps, (last.1 - first.1) / steps))
}

/// Today in UTC, as year-month-day.
fn today() -> String {
    let days = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs() / 86_400);
    date(days)
}

/// The Gregorian date this many days after 1970-01-01.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_the_go_host_is_parsed() {
        assert_eq!(value("after=old code", "after"), Some("old code"));
        assert_eq!(value("after=old code", "before"), None);
        assert_eq!(sample("sample=120 7340032"), Some((120.0, 7340032.0)));
        assert_eq!(sample("sample=many"), None);
    }

    #[test]
    fn growth_leaves_out_the_first_version() {
        assert_eq!(growth(&[(100.0, 5e6), (106.0, 6e6), (112.0, 7e6)]), Some((6.0, 1e6)));
        assert_eq!(growth(&[(100.0, 5e6)]), None);
    }

    #[test]
    fn days_become_dates() {
        let dates = [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_778, "2026-11-21"),
        ];
        for (days, expected) in dates {
            assert_eq!(date(days), expected);
        }
    }
}
