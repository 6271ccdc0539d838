//! `cargo xtask package`: makes `.crate` files of the published crates, as for a registry. It can unpack them into a
//! directory source of cargo, from which a project outside of this clone gets them by version.
//!
//! Nothing is compiled here. `tests/guide` tests that the packaged crates are complete and compile: it runs the guide's
//! first chapter with them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use anyhow::{Context, bail, ensure};
use xtask::{Workspace, cargo};

use crate::paint;
use crate::published::{Package, Packages};

/// The registry in a project's configuration. Cargo never contacts it, because the directory replaces it; no host can have
/// an address in `.invalid`.
const REGISTRY: &str = "sparse+https://reslot.invalid/";

#[derive(clap::Args)]
pub struct Arguments {
    /// The crates to package, together with their dependencies [default: all published crates]
    names: Vec<String>,
    /// Unpack the crates into this folder, as a directory source, and print the configuration for cargo
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let root = crate::repository();
    let packages = Packages::read(&root)?;
    let wanted = match arguments.names.as_slice() {
        [] => packages.published(),
        names => packages.with_dependencies(names)?,
    };
    let packaged = package(&root, &packages, &wanted)?;
    let Some(directory) = arguments.directory else {
        for file in packaged {
            let size = fs::metadata(&file)
                .with_context(|| format!("cannot read {}", file.display()))?
                .len();
            anstream::println!("{:>8}  {}", paint::size(size), file.display());
        }
        return Ok(ExitCode::SUCCESS);
    };
    let directory = std::path::absolute(directory)?;
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for (package, file) in wanted.iter().zip(&packaged) {
        unpack(package, file, &directory)?;
    }
    anstream::eprintln!(
        "{} {} crates in {}; put these lines into .cargo/config.toml of your workspace, or of a folder above it:\n",
        paint::good("unpacked"),
        wanted.len(),
        directory.display()
    );
    anstream::print!("{}", configuration(&wanted, &directory));
    Ok(ExitCode::SUCCESS)
}

/// Packages all published crates, for `cargo xtask test`.
pub fn passes() -> anyhow::Result<bool> {
    run(Arguments {
        names: Vec::new(),
        directory: None,
    })
    .map(|code| code == ExitCode::SUCCESS)
}

/// Packages the crates with cargo, and returns the files.
fn package(root: &Path, packages: &Packages, wanted: &[&Package]) -> anyhow::Result<Vec<PathBuf>> {
    let faults = packages.faults();
    if !faults.is_empty() {
        let mut text = "the crates cannot be published as they are:".to_owned();
        for fault in faults {
            let _ = write!(text, "\n  {}: {}", fault.manifest.display(), fault.what);
        }
        bail!(text);
    }
    let run = |more: &[&str]| {
        let mut command = cargo();
        command
            .current_dir(root)
            .args(["package", "--no-verify", "--allow-dirty", "--locked", "--quiet"])
            .args(more)
            .args(wanted.iter().flat_map(|package| ["--package", &package.name]))
            .stdin(Stdio::null());
        command.output().context("cannot start cargo package")
    };
    // The needed part of the registry's index is mostly on this machine, so the first run is offline. If it fails for any
    // reason, the second run reports it.
    let is_good = |output: &Output| output.status.success();
    let output = run(&["--offline"])?;
    let output = if is_good(&output) { output } else { run(&[])? };
    ensure!(
        is_good(&output),
        "cargo package failed ({}):\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let folder = Workspace::read(root)?.target.join("package");
    let files = wanted
        .iter()
        .map(|package| folder.join(format!("{}.crate", full_name(package))));
    Ok(files.collect())
}

/// The name of a packaged crate's file and folder.
fn full_name(package: &Package) -> String {
    format!("{}-{}", package.name, package.version)
}

/// Unpacks a packaged crate into a directory source, and replaces a folder of the same version.
fn unpack(package: &Package, file: &Path, directory: &Path) -> anyhow::Result<()> {
    let folder = directory.join(full_name(package));
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    said_by(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(directory))?;
    let hash = said_by(Command::new("sha256sum").arg(file))?;
    let hash = hash.split_whitespace().next().unwrap_or_default();
    // Cargo reads a crate's folder in a directory source only if this file has the checksum of the crate's file. It lists no
    // files, so cargo does not verify them at each build.
    let sums = serde_json::json!({ "files": {}, "package": hash });
    let to = folder.join(".cargo-checksum.json");
    fs::write(&to, sums.to_string()).with_context(|| format!("cannot write {}", to.display()))
}

/// The output of a program.
fn said_by(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    ensure!(
        output.status.success(),
        "{name} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The configuration that makes cargo use the directory for these crates only.
fn configuration(packages: &[&Package], directory: &Path) -> String {
    let mut text = format!(
        "# Reslot's crates come from a folder. Cargo never contacts the registry `reslot`, because the folder replaces it.\n\
         [registries.reslot]\nindex = \"{REGISTRY}\"\n\n\
         [source.reslot]\nregistry = \"{REGISTRY}\"\nreplace-with = \"reslot-crates\"\n\n\
         [source.reslot-crates]\ndirectory = {:?}\n\n\
         [patch.crates-io]\n",
        directory.display().to_string()
    );
    for Package { name, version, .. } in packages.iter().filter(|package| package.has_library()) {
        let _ = writeln!(text, "{name} = {{ version = \"={version}\", registry = \"reslot\" }}");
    }
    text
}
