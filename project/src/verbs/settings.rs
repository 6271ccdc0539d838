//! The settings that `build-plugin` adds to a debug build: line tables instead of full debug information. Backtraces still
//! have files and lines, and the artifact, which is linked, published and hashed at each save, is half as large. Settings in
//! a `Cargo.toml`, in cargo's configuration or in the environment have precedence.
//!
//! Other settings did not save measurable time or had drawbacks; `cargo xtask bench save` has the figures.

use std::path::{Path, PathBuf};
use std::{env, fs};

use toml::Table;

const LINES_ONLY: &str = "profile.dev.debug=\"line-tables-only\"";

/// The settings for a debug build of `plugin`, as `cargo --config` takes them.
pub fn of_debug_build(root: &Path, plugin: &str) -> Option<String> {
    let by_hand = env::var_os("CARGO_PROFILE_DEV_DEBUG").is_some()
        || written(root).any(|file| {
            let table = fs::read_to_string(file).ok().and_then(|text| text.parse().ok());
            table.is_some_and(|table| says(&table, plugin))
        });
    (!by_hand).then(|| LINES_ONLY.to_owned())
}

/// The files in which cargo looks for profiles.
fn written(root: &Path) -> impl Iterator<Item = PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let folders = root.ancestors().map(|folder| folder.join(".cargo")).chain(home);
    let configurations = folders.flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name)));
    [root.join("Cargo.toml")].into_iter().chain(configurations)
}

/// Whether `table`, a `Cargo.toml` or a configuration of cargo, sets the debug information of a debug build of the plugin.
fn says(table: &Table, plugin: &str) -> bool {
    let profile = table.get("profile").and_then(|profiles| profiles.get("dev"));
    let packages = profile.and_then(|profile| profile.get("package"));
    let own = packages.and_then(|packages| packages.get(plugin));
    profile.into_iter().chain(own).any(|settings| settings.get("debug").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(manifest: &str) -> Option<String> {
        let root = tempfile::tempdir().expect("a scratch folder");
        fs::write(root.path().join("Cargo.toml"), manifest).expect("write");
        of_debug_build(root.path(), "greeter")
    }

    #[test]
    fn manifest_without_debug_settings_gets_the_quick_one() {
        for manifest in [
            "",
            "[profile.release]\ndebug = true",
            "[profile.dev]\nopt-level = 1",
            "[profile.dev.package.other]\ndebug = true",
        ] {
            assert_eq!(given(manifest).as_deref(), Some(LINES_ONLY), "{manifest}");
        }
    }

    #[test]
    fn debug_settings_in_the_manifest_stay() {
        for manifest in ["[profile.dev]\ndebug = true", "[profile.dev.package.greeter]\ndebug = 2"] {
            assert_eq!(given(manifest), None, "{manifest}");
        }
    }
}
