//! The verb `new-plugin NAME --interface TRAIT`: makes a package under plugins/ that builds, and a test that reloads it
//! while it is called.

mod interfaces;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use toml::Table;

use super::caller::at;
use super::{Caller, paint};
use crate::Workspace;
use interfaces::Interfaces;
use template::Template;

/// The command line.
#[derive(clap::Args)]
pub struct Arguments {
    /// The name of the plugin, its package and its slot
    name: String,
    /// The interface that it implements: a trait marked #[interface] of a package in this workspace, such as `Greeter`, or
    /// `sample_interfaces::Greeter` if several packages have one of that name
    #[arg(long, value_name = "TRAIT")]
    interface: String,
}

/// A package with interfaces.
struct Shelf {
    package: String,
    folder: PathBuf,
    interfaces: Interfaces,
}

/// Makes the plugin.
///
/// # Errors
/// If the name or the interface is not valid, or the files cannot be written.
pub fn run(caller: &Caller, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { name, interface } = arguments;
    let workspace = Workspace::read(&caller.workspace()?)?;
    check_name(&name)?;
    ensure!(
        !workspace.packages().any(|package| package.name == name),
        "there is a package `{name}` already: choose another name"
    );
    let folder = workspace.root.join("plugins").join(&name);
    ensure!(
        !folder.exists(),
        "{} exists already: choose another name, or remove it",
        folder.display()
    );
    let shelf = find(&workspace, &interface)?;
    let interface = interface.rsplit("::").next().unwrap_or(&interface);
    let template = Template {
        name: &name,
        interface,
        crate_name: &shelf.package.replace('-', "_"),
        interfaces: &shelf.interfaces,
    };

    let (library, test) = (folder.join("src/lib.rs"), folder.join("tests/reload.rs"));
    let manifest = manifest(caller, &workspace, &template, &shelf)?;
    let written = write(&folder.join("Cargo.toml"), &manifest)
        .and_then(|()| write(&library, &template.library()))
        .and_then(|()| write(&test, &template.test()));
    if let Err(error) = written {
        // An incomplete package would break the build of the whole workspace, so the new folder is removed.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    format(&[&library, &test]);
    if let Err(error) = Workspace::read(&workspace.root).and_then(|workspace| workspace.plugin(&name).map(drop)) {
        bail!(
            "{} was written, but it is not a member of the workspace: add \"plugins/*\" to `members` in {}\n{error}",
            folder.display(),
            workspace.root.join("Cargo.toml").display()
        );
    }
    paint::line(format_args!(
        "{} plugins/{name}, with the interface {interface} of {}",
        paint::good("made"),
        shelf.package
    ));
    paint::line(format_args!("  plugins/{name}/src/lib.rs         what it does"));
    paint::line(format_args!(
        "  plugins/{name}/tests/reload.rs    that it can be replaced: cargo test -p {name}"
    ));
    paint::line(format_args!("next: {} build-plugin {name}", caller.command));
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    ensure!(
        fits,
        "`{name}` is not a valid name of a plugin: a name begins with a letter, and has at most 64 characters of a-z 0-9 - _"
    );
    Ok(())
}

/// The one package that has the interface.
fn find(workspace: &Workspace, wanted: &str) -> anyhow::Result<Shelf> {
    let (package, name) = match wanted.rsplit_once("::") {
        Some((package, name)) => (Some(package.replace('_', "-")), name),
        None => (None, wanted),
    };
    let mut known = Vec::new();
    let mut found = Vec::new();
    for candidate in workspace.packages().filter(|package| !package.is_library_for_loading) {
        let interfaces = Interfaces::read(&candidate.folder.join("src"));
        known.extend(
            interfaces
                .traits
                .keys()
                .map(|name| format!("{}::{name}", candidate.name.replace('-', "_"))),
        );
        let is_meant = package
            .as_ref()
            .is_none_or(|package| *package == candidate.name.replace('_', "-"));
        if is_meant && interfaces.traits.contains_key(name) {
            found.push(Shelf {
                package: candidate.name.clone(),
                folder: candidate.folder.clone(),
                interfaces,
            });
        }
    }
    match found.len() {
        0 if known.is_empty() => bail!(
            "no package of {} has an interface: write a trait marked `#[interface]` in a library crate first",
            workspace.root.display()
        ),
        0 => bail!("there is no interface `{wanted}`; there are: {}", known.join(", ")),
        1 => Ok(found.remove(0)),
        _ => {
            let packages: Vec<_> = found
                .iter()
                .map(|shelf| format!("{}::{name}", shelf.package.replace('-', "_")))
                .collect();
            bail!(
                "several packages have an interface `{name}`: say which one: {}",
                packages.join(", ")
            )
        }
    }
}

fn manifest(caller: &Caller, workspace: &Workspace, template: &Template<'_>, shelf: &Shelf) -> anyhow::Result<String> {
    let file = workspace.root.join("Cargo.toml");
    let root: Table = fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?
        .parse()
        .with_context(|| format!("cannot understand {}", file.display()))?;
    let shared = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let is_shared = |name: &str| shared.is_some_and(|shared| shared.get(name).is_some());
    let dependency = |name: &str, otherwise: &dyn Fn() -> anyhow::Result<String>| match is_shared(name) {
        true => Ok(format!("{name}.workspace = true\n")),
        false => otherwise().map(|otherwise| format!("{name} = {otherwise}\n")),
    };
    let reslot = |name: &str| dependency(name, &|| caller.crates.dependency(name));
    let mut dependencies = vec![
        reslot("reslot-plugin-api")?,
        dependency(&shelf.package, &|| Ok(at(&shelf.folder)))?,
    ];
    if template.has_owner() {
        let serde = || Ok("{ version = \"1\", features = [\"derive\"] }".to_owned());
        dependencies.push(dependency("serde", &serde)?);
    }
    dependencies.sort();
    let package = root.get("workspace").and_then(|workspace| workspace.get("package"));
    let inherited = |key: &str, otherwise: &str| match package.is_some_and(|package| package.get(key).is_some()) {
        true => format!("{key}.workspace = true\n"),
        false => otherwise.to_owned(),
    };
    let header = [
        inherited("version", "version = \"0.1.0\"\n"),
        inherited("edition", "edition = \"2024\"\n"),
        inherited("rust-version", ""),
        inherited("license", ""),
        inherited("publish", "publish = false\n"),
    ];
    let lints = root.get("workspace").and_then(|workspace| workspace.get("lints"));
    Ok(format!(
        "[package]\nname = \"{}\"\ndescription = \"A plugin with the interface {}\"\n{}\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\n{}\n[dev-dependencies]\n{}{}",
        template.name,
        template.interface,
        header.concat(),
        dependencies.concat(),
        reslot("reslot-testkit")?,
        lints.map_or("", |_| "\n[lints]\nworkspace = true\n")
    ))
}

/// Writes a new file.
pub(super) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Formats the new files. Without rustfmt they still build.
fn format(files: &[&Path]) {
    let _ = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .args(files)
        .stderr(Stdio::null())
        .status();
}
