//! The program that runs a verb: how its command line begins, and the source of Reslot's crates for new packages.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, bail};

use crate::Workspace;

/// The program that runs a verb.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What its user types before a verb: `reslot`, or `cargo xtask`.
    pub command: &'static str,
    /// The source of Reslot's crates for new packages.
    pub crates: Crates,
}

/// The source of Reslot's crates for new packages.
#[derive(Debug, Clone)]
pub enum Crates {
    /// From a clone of Reslot's repository, by path.
    Clone(PathBuf),
    /// From the registry, by version.
    Registry {
        /// The version of `reslot` and of all crates that share it.
        reslot: &'static str,
        /// The version of `reslot-plugin-api`, which is the version of the contract between host and plugins.
        plugin_api: &'static str,
    },
}

impl Crates {
    /// The text after `NAME = ` in a manifest.
    ///
    /// # Errors
    /// If the clone cannot be read, or has no package of this name.
    pub(super) fn dependency(&self, name: &str) -> anyhow::Result<String> {
        match self {
            Self::Clone(clone) => {
                let workspace = Workspace::read(clone)?;
                let package = workspace.packages().find(|package| package.name == name);
                let package = package.with_context(|| format!("{} has no package `{name}`", clone.display()))?;
                Ok(at(&package.folder))
            }
            Self::Registry { plugin_api, .. } if name == "reslot-plugin-api" => Ok(format!("{plugin_api:?}")),
            Self::Registry { reslot, .. } => Ok(format!("{reslot:?}")),
        }
    }
}

/// A dependency by path, as text for a manifest.
pub(super) fn at(folder: &Path) -> String {
    format!("{{ path = {:?} }}", folder.display().to_string())
}

impl Caller {
    /// The workspace for new plugins and builds: the one around the current folder, or else the clone.
    ///
    /// # Errors
    /// If there is none, or the current folder is unknown.
    pub fn workspace(&self) -> anyhow::Result<PathBuf> {
        let here = env::current_dir().context("cannot find the current folder")?;
        let is_root = |folder: &&Path| {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok();
            manifest
                .and_then(|text| text.parse::<toml::Table>().ok())
                .is_some_and(|table| table.contains_key("workspace"))
        };
        match (here.ancestors().find(is_root), &self.crates) {
            (Some(root), _) => Ok(root.to_owned()),
            (None, Crates::Clone(clone)) => Ok(clone.clone()),
            (None, Crates::Registry { .. }) => bail!(
                "there is no workspace around {}: change into one, or make one by `{} new-project DIR`",
                here.display(),
                self.command
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_come_from_a_clone_by_path_and_from_a_registry_by_version() {
        let clone = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in a clone");
        let by_path = Crates::Clone(clone.to_owned());
        let expected = at(&clone.join("plugin-api"));
        assert_eq!(by_path.dependency("reslot-plugin-api").expect("it is there"), expected);
        let unknown = by_path.dependency("reslot-plugin").expect_err("misspelt").to_string();
        assert!(unknown.ends_with("has no package `reslot-plugin`"), "{unknown}");

        let by_version = Crates::Registry {
            reslot: "1.2.3",
            plugin_api: "4.5.6",
        };
        let of = |name| by_version.dependency(name).expect("nothing is looked up");
        assert_eq!(
            ["reslot", "reslot-testkit", "reslot-plugin-api"].map(of),
            [r#""1.2.3""#, r#""1.2.3""#, r#""4.5.6""#]
        );
    }
}
