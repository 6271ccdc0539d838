//! The workspace, read once from `cargo metadata`: the plugins, their sources, and the target folder.
//!
//! `--no-deps` is enough, because path dependencies include their folder. It resolves and downloads nothing, so it takes a
//! few milliseconds and works without a network.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::Error;

/// A cargo workspace with plugins.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target folder, according to `CARGO_TARGET_DIR` and the configuration.
    pub target: PathBuf,
    packages: BTreeMap<PathBuf, Package>,
}

/// A package of the workspace.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name, as in `cargo build -p NAME`.
    pub name: String,
    /// Cargo's unambiguous package id.
    pub id: String,
    /// The folder of its `Cargo.toml`.
    pub folder: PathBuf,
    /// Whether it has a cdylib target.
    pub is_library_for_loading: bool,
    /// The folders of the local packages that are compiled into it, without development dependencies.
    pub local_dependencies: Vec<PathBuf>,
}

impl Workspace {
    /// Reads the workspace around `folder`.
    pub fn read(folder: &Path) -> Result<Workspace, Error> {
        Ok(Workspace::of(metadata(folder, &["--no-deps"])?))
    }

    fn of(metadata: Metadata) -> Workspace {
        let packages = metadata.packages.into_iter().map(|package| {
            let folder = package.manifest_path.parent().unwrap_or(Path::new("/")).to_owned();
            let package = Package {
                name: package.name,
                id: package.id,
                is_library_for_loading: package
                    .targets
                    .iter()
                    .any(|target| target.kind.iter().any(|kind| kind == "cdylib")),
                local_dependencies: package
                    .dependencies
                    .into_iter()
                    .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
                    .filter_map(|dependency| dependency.path)
                    .collect(),
                folder: folder.clone(),
            };
            (folder, package)
        });
        Workspace {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages: packages.collect(),
        }
    }

    /// Every package, in the order of their folders.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Every plugin: a package under `plugins/` with a cdylib target.
    pub fn plugins(&self) -> impl Iterator<Item = &Package> {
        let shelf = self.root.join("plugins");
        self.packages
            .values()
            .filter(move |package| package.is_library_for_loading && package.folder.starts_with(&shelf))
    }

    /// A package of this name with a cdylib target in any folder: a plugin, or a fixture of the tests.
    pub fn loadable(&self, name: &str) -> Option<&Package> {
        let mut packages = self.packages.values();
        packages.find(|package| package.is_library_for_loading && package.name == name)
    }

    /// The plugin of this name.
    pub fn plugin(&self, name: &str) -> Result<&Package, Error> {
        self.plugins()
            .find(|plugin| plugin.name == name)
            .ok_or_else(|| Error::UnknownPlugin {
                name: name.to_owned(),
                known: self.plugins().map(|plugin| plugin.name.clone()).collect(),
            })
    }

    /// The folder of a dependency of this workspace, for data files beside its sources.
    ///
    /// Cargo resolves for this machine's target alone, because a build never downloads packages of other platforms. It uses the
    /// network only if a package of this platform is missing.
    pub fn dependency(&self, name: &str) -> Result<PathBuf, Error> {
        let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        let arguments = ["--locked", "--filter-platform", &target];
        let packages = metadata(&self.root, &[&arguments[..], &["--offline"]].concat())
            .or_else(|_| metadata(&self.root, &arguments))?
            .packages;
        let package = packages.into_iter().find(|package| package.name == name);
        package
            .map(|package| package.manifest_path.with_file_name(""))
            .ok_or_else(|| Error::Workspace {
                at: self.root.clone(),
                why: format!("nothing in it depends on `{name}`"),
            })
    }

    /// The folder that a host and the verb `build-plugin` share: it has the published plugins and the host's control socket.
    ///
    /// It is `target/reslot` in the workspace also if `CARGO_TARGET_DIR` or `[build] target-dir` names another target folder. A program
    /// cannot see these settings while it runs, and several workspaces may share one target folder.
    pub fn meeting_folder(&self) -> PathBuf {
        self.root.join("target").join("reslot")
    }

    /// Where plugins are published unless the command line names another folder; hosts watch this folder.
    pub fn plugin_folder(&self) -> PathBuf {
        self.meeting_folder().join("plugins")
    }

    /// The folders of all local packages that are compiled into `package`, including its own.
    ///
    /// A path dependency outside the workspace is listed, but its own dependencies are unknown.
    pub fn source_folders(&self, package: &Package) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut open = vec![package.folder.clone()];
        while let Some(folder) = open.pop() {
            if let Some(package) = self.packages.get(&folder) {
                open.extend(
                    package
                        .local_dependencies
                        .iter()
                        .filter(|folder| !found.contains(*folder))
                        .cloned(),
                );
            }
            found.insert(folder);
        }
        found
    }
}

/// Cargo, started as if from a shell. It is the cargo that started this program, without the variables that `cargo run` sets
/// about *this* package, because build scripts that read such variables would be run again.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

fn metadata(folder: &Path, arguments: &[&str]) -> Result<Metadata, Error> {
    let refused = |why: String| Error::Workspace {
        at: folder.to_owned(),
        why,
    };
    let output = cargo()
        .current_dir(folder)
        .args(["metadata", "--format-version=1"])
        .args(arguments)
        .output()
        .map_err(|error| refused(format!("cargo could not be started: {error}")))?;
    if !output.status.success() {
        return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| refused(format!("cargo's output cannot be parsed: {error}")))
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    id: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
    dependencies: Vec<MetadataDependency>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct MetadataDependency {
    kind: Option<String>,
    path: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{
        "packages": [
            {"name": "greeter", "id": "path+file:///w/plugins/greeter#0.1.0", "manifest_path": "/w/plugins/greeter/Cargo.toml",
             "targets": [{"kind": ["cdylib"], "name": "greeter"}],
             "dependencies": [
                {"name": "interfaces", "kind": null, "path": "/w/plugins/interfaces"},
                {"name": "tests", "kind": "dev", "path": "/w/tests"},
                {"name": "serde", "kind": null}]},
            {"name": "interfaces", "id": "path+file:///w/plugins/interfaces#0.1.0", "manifest_path": "/w/plugins/interfaces/Cargo.toml",
             "targets": [{"kind": ["lib"], "name": "interfaces"}],
             "dependencies": [{"name": "api", "kind": null, "path": "/elsewhere/api"}]},
            {"name": "fixture", "id": "path+file:///w/tests/fixture#0.1.0", "manifest_path": "/w/tests/fixture/Cargo.toml",
             "targets": [{"kind": ["cdylib", "rlib"], "name": "fixture"}], "dependencies": []}
        ],
        "workspace_root": "/w", "target_directory": "/out", "version": 1
    }"#;

    fn workspace() -> Workspace {
        Workspace::of(serde_json::from_str(METADATA).expect("the sample is what cargo prints"))
    }

    #[test]
    fn only_loadable_packages_under_plugins_are_plugins() {
        let names: Vec<_> = workspace().plugins().map(|plugin| plugin.name.clone()).collect();
        assert_eq!(names, ["greeter"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = workspace().plugin("greter").expect_err("misspelt").to_string();
        assert_eq!(error, "no plugin is named `greter`; the plugins are: greeter");
    }

    #[test]
    fn sources_follow_local_dependencies_but_not_those_of_tests() {
        let workspace = workspace();
        let folders = workspace.source_folders(workspace.plugin("greeter").expect("known"));
        let expected = ["/elsewhere/api", "/w/plugins/greeter", "/w/plugins/interfaces"];
        assert!(folders.iter().eq(expected.iter().map(Path::new)), "{folders:?}");
    }

    #[test]
    fn a_dependency_is_where_cargo_keeps_it_and_an_unknown_one_is_named() {
        let workspace = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("ours");
        let folder = workspace.dependency("serde_json").expect("it is one");
        assert!(folder.join("src/lib.rs").is_file(), "{}", folder.display());
        let unknown = workspace.dependency("serde_jsonn").expect_err("misspelt").to_string();
        assert!(unknown.contains("depends on `serde_jsonn`"), "{unknown}");
    }

    #[test]
    fn plugins_are_published_where_programs_look_whatever_target_folder_cargo_uses() {
        assert_eq!(workspace().plugin_folder(), Path::new("/w/target/reslot/plugins"));
    }
}
