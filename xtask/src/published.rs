//! Checks the crates that are published. The data comes from `cargo metadata`: a crate is published unless its manifest says
//! `publish = false`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use xtask::cargo;

/// The files with the licences, which must be part of every package.
const LICENCES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// The packages of a workspace.
pub struct Packages(BTreeMap<PathBuf, Package>);

/// A package of a workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    manifest_path: PathBuf,
    /// The registries to which it may be published; any, if this is none.
    publish: Option<Vec<String>>,
    description: Option<String>,
    license: Option<String>,
    readme: Option<String>,
    rust_version: Option<String>,
    keywords: Vec<String>,
    categories: Vec<String>,
    metadata: serde_json::Value,
    targets: Vec<Target>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    req: String,
    kind: Option<String>,
    path: Option<PathBuf>,
}

/// Why a crate cannot be published.
#[derive(Debug, PartialEq)]
pub struct Fault {
    /// The manifest to change.
    pub manifest: PathBuf,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Packages {
    /// Reads the workspace in `root`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut command = cargo();
        command
            .current_dir(root)
            .args(["metadata", "--format-version=1", "--no-deps"]);
        let answer = command.output().context("cannot start cargo metadata")?;
        ensure!(
            answer.status.success(),
            "cannot read the workspace at {}: {}",
            root.display(),
            String::from_utf8_lossy(&answer.stderr).trim()
        );
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        let metadata: Metadata = serde_json::from_slice(&answer.stdout).context("cargo's answer is not understood")?;
        let packages = metadata.packages.into_iter();
        Ok(Self(packages.map(|package| (package.folder().to_owned(), package)).collect()))
    }

    /// The published packages, in the order of their names.
    pub fn published(&self) -> Vec<&Package> {
        let mut published: Vec<_> = self.0.values().filter(|package| package.is_published()).collect();
        published.sort_by_key(|package| &package.name);
        published
    }

    /// The published packages of these names, and every package of the workspace that they depend on.
    pub fn with_dependencies(&self, names: &[String]) -> anyhow::Result<Vec<&Package>> {
        let published = self.published();
        let mut found = BTreeSet::new();
        let mut open = Vec::new();
        for name in names {
            let Some(package) = published.iter().find(|package| package.name == *name) else {
                let known: Vec<_> = published.iter().map(|package| package.name.as_str()).collect();
                bail!(
                    "no crate `{name}` is published; the published crates are: {}",
                    known.join(", ")
                );
            };
            open.push(*package);
        }
        while let Some(package) = open.pop() {
            if found.insert(package.folder()) {
                let paths = package.built_with().filter_map(|dependency| dependency.path.as_ref());
                open.extend(paths.filter_map(|path| self.0.get(path)));
            }
        }
        Ok(published
            .into_iter()
            .filter(|package| found.contains(package.folder()))
            .collect())
    }

    /// All faults of the published crates.
    pub fn faults(&self) -> Vec<Fault> {
        let published = self.published().into_iter();
        published
            .flat_map(|package| {
                let mut what = package.missing();
                what.extend(
                    package
                        .dependencies
                        .iter()
                        .filter_map(|dependency| self.wrong_with(dependency)),
                );
                what.into_iter().map(|what| Fault {
                    manifest: package.manifest_path.clone(),
                    what: format!("{}: {what}", package.name),
                })
            })
            .collect()
    }

    /// What is wrong with a dependency of a published crate.
    fn wrong_with(&self, dependency: &Dependency) -> Option<String> {
        let path = dependency.path.as_ref()?;
        let name = &dependency.name;
        let has_version = dependency.req != "*";
        if dependency.kind.as_deref() == Some("dev") {
            // Cargo leaves a development dependency out of the published manifest only if it has no version. With a version, two crates
            // that test each other could not be published at all.
            return has_version.then(|| {
                format!(
                    "the development dependency on `{name}` must not have a version: write `{name} = {{ path = \"…\" }}`"
                )
            });
        }
        if !self.0.get(path).is_some_and(Package::is_published) {
            return Some(format!(
                "this crate is published and depends on `{name}`, which is not: publish that, too (remove `publish` from \
                     its Cargo.toml), or remove the dependency"
            ));
        }
        (!has_version).then(|| {
            format!("the dependency on `{name}` has no version: add it to the line of `{name}` in [workspace.dependencies]")
        })
    }
}

impl Package {
    /// The folder of its manifest.
    pub fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(&self.manifest_path)
    }

    fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|registries| !registries.is_empty())
    }

    /// Whether another crate can depend on it.
    pub fn has_library(&self) -> bool {
        let mut kinds = self.targets.iter().flat_map(|target| &target.kind);
        kinds.any(|kind| matches!(kind.as_str(), "lib" | "rlib" | "proc-macro"))
    }

    /// The dependencies that are compiled into it.
    fn built_with(&self) -> impl Iterator<Item = &Dependency> {
        let is_dev = |dependency: &&Dependency| dependency.kind.as_deref() == Some("dev");
        self.dependencies.iter().filter(move |dependency| !is_dev(dependency))
    }

    /// What the registry requires and this crate does not have.
    fn missing(&self) -> Vec<String> {
        let says = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.trim().is_empty());
        let has_docs = self.metadata.pointer("/docs/rs/targets").is_some();
        let mut missing: Vec<_> = [
            (says(&self.description), "no `description`: describe the crate in one line"),
            (says(&self.license), "no `license`: add `license.workspace = true`"),
            (says(&self.rust_version), "no `rust-version`: add `rust-version.workspace = true`"),
            (says(&self.readme), "no README.md: describe in it what the crate is, and for whom"),
            (
                (1..=5).contains(&self.keywords.len()) && self.keywords.iter().all(|word| word.len() <= 20),
                "one to five `keywords` of at most 20 letters are needed: add `keywords.workspace = true`",
            ),
            (
                (1..=5).contains(&self.categories.len()),
                "one to five `categories` are needed: add `categories.workspace = true`",
            ),
            (
                has_docs || !self.has_library(),
                "the documentation would be built for systems that it does not compile for: add [package.metadata.docs.rs] with \
                 `targets = [\"x86_64-unknown-linux-gnu\"]`",
            ),
        ]
        .into_iter()
        .filter(|(has, _)| !has)
        .map(|(_, what)| what.to_owned())
        .collect();
        let absent = LICENCES.iter().filter(|file| !self.folder().join(file).is_file());
        missing.extend(absent.map(|file| format!("no {file} beside its Cargo.toml: link the repository's file to it")));
        missing
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// What the sample's crates have in common, without what it says of `publish`.
    const WHOLE: &str = "version = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.91\"\ndescription = \"A sample\"\nlicense = \"MIT\"\n\
         keywords = [\"sample\"]\ncategories = [\"development-tools\"]\n\
         metadata.docs.rs.targets = [\"x86_64-unknown-linux-gnu\"]\n";

    /// A workspace of these packages. Of each: its name, the rest of `[package]`, and what follows that.
    fn workspace(packages: &[(&str, &str, &str)]) -> TempDir {
        let root = tempfile::tempdir().expect("a scratch folder");
        let write = |file: PathBuf, text: &str| {
            fs::create_dir_all(file.parent().expect("in a folder")).expect("made");
            fs::write(file, text).expect("written");
        };
        write(
            root.path().join("Cargo.toml"),
            "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n",
        );
        write(root.path().join("LICENSE"), "The text of the licence\n");
        for (name, package, rest) in packages {
            let folder = root.path().join(name);
            write(
                folder.join("Cargo.toml"),
                &format!("[package]\nname = {name:?}\n{package}\n{rest}"),
            );
            write(folder.join("src/lib.rs"), "");
            write(folder.join("README.md"), "# A sample\n");
            for licence in LICENCES {
                symlink("../LICENSE", folder.join(licence)).expect("a link");
            }
        }
        root
    }

    fn faults(root: &TempDir) -> Vec<String> {
        let packages = Packages::read(root.path()).expect("a workspace");
        packages.faults().into_iter().map(|fault| fault.what).collect()
    }

    fn found(root: &TempDir, expected: &[&str]) {
        let faults = faults(root);
        let fit = faults.len() == expected.len() && faults.iter().zip(expected).all(|(what, part)| what.contains(part));
        assert!(fit, "{faults:#?} are not {expected:#?}");
    }

    #[test]
    fn every_published_crate_of_this_repository_has_what_it_needs() {
        let packages = Packages::read(&crate::repository()).expect("ours");
        assert_eq!(packages.faults(), []);
        let names: Vec<_> = packages.published().iter().map(|package| package.name.as_str()).collect();
        for expected in ["reslot", "reslot-cli", "reslot-plugin-api", "reslot-testkit"] {
            assert!(names.contains(&expected), "{names:?}");
        }
        for unexpected in ["xtask", "greeter", "reslot-tests"] {
            assert!(!names.contains(&unexpected), "{names:?}");
        }
    }

    #[test]
    fn each_thing_that_is_missing_is_named() {
        let root = workspace(&[
            ("whole", WHOLE, ""),
            ("bare", "version = \"0.1.0\"\nedition = \"2024\"\n", ""),
        ]);
        fs::remove_file(root.path().join("bare/README.md")).expect("removed");
        fs::remove_file(root.path().join("bare/LICENSE-MIT")).expect("removed");
        let expected = [
            "bare: no `description`",
            "bare: no `license`",
            "bare: no `rust-version`",
            "bare: no README.md",
            "`keywords`",
            "`categories`",
            "metadata.docs.rs",
            "bare: no LICENSE-MIT beside",
        ];
        found(&root, &expected);
        let unpublished = format!("{}publish = false\n", "version = \"0.1.0\"\nedition = \"2024\"\n");
        found(&workspace(&[("bare", &unpublished, "")]), &[]);
    }

    #[test]
    fn dependencies_of_a_published_crate_are_published_and_have_versions() {
        let unpublished = format!("{WHOLE}publish = false\n");
        let on = |how: &str| format!("[dependencies]\nbelow = {{ path = \"../below\"{how} }}\n");
        let above = |how: &str, below: &str| workspace(&[("above", WHOLE, &on(how)), ("below", below, "")]);
        found(&above(", version = \"0.1\"", WHOLE), &[]);
        found(
            &above(", version = \"0.1\"", &unpublished),
            &["above: this crate is published and depends on `below`, which is not"],
        );
        found(&above("", WHOLE), &["above: the dependency on `below` has no version"]);
        // An optional dependency is one, too.
        found(
            &above(", optional = true", &unpublished),
            &["depends on `below`, which is not"],
        );
        let unpublished_above = workspace(&[("above", &unpublished, &on("")), ("below", &unpublished, "")]);
        found(&unpublished_above, &[]);
    }

    #[test]
    fn development_dependencies_have_no_version_and_need_not_be_published() {
        let unpublished = format!("{WHOLE}publish = false\n");
        let on = |how: &str| format!("[dev-dependencies]\nbelow = {{ path = \"../below\"{how} }}\n");
        found(&workspace(&[("above", WHOLE, &on("")), ("below", &unpublished, "")]), &[]);
        found(
            &workspace(&[("above", WHOLE, &on(", version = \"0.1\"")), ("below", WHOLE, "")]),
            &["above: the development dependency on `below` must not have a version"],
        );
    }

    #[test]
    fn a_crate_comes_with_all_that_it_depends_on() {
        let on = |name: &str| format!("[dependencies]\n{name} = {{ path = \"../{name}\", version = \"0.1\" }}\n");
        let root = workspace(&[
            ("top", WHOLE, &on("mid")),
            ("mid", WHOLE, &on("low")),
            ("low", WHOLE, ""),
            ("else", WHOLE, ""),
        ]);
        let packages = Packages::read(root.path()).expect("a workspace");
        let of = |names: &[&str]| -> anyhow::Result<Vec<String>> {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let found = packages.with_dependencies(&names)?;
            Ok(found.into_iter().map(|package| package.name.clone()).collect())
        };
        assert_eq!(of(&["top"]).expect("known"), ["low", "mid", "top"]);
        assert_eq!(of(&["mid", "low"]).expect("known"), ["low", "mid"]);
        let unknown = of(&["lower"]).expect_err("misspelt").to_string();
        assert!(
            unknown.contains("`lower`") && unknown.ends_with("else, low, mid, top"),
            "{unknown}"
        );
    }
}
