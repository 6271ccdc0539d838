//! Which of cargo's settings `build-plugin` gives a debug build, so that nobody has to write them into a `Cargo.toml`. What somebody
//! has written, there, in cargo's configuration or in the environment, stays as it is.
//!
//! What was tried and left out, and why, is measured by `cargo xtask bench save`.

use std::path::Path;
use std::{env, fs};

use toml::{Table, Value};

/// How many pieces a plugin is compiled in, where cargo has 256. A small plugin comes to a hundred, most of them tiny, and each is an
/// object file that is linked at every save: with fewer, the save of a small plugin is answered a tenth sooner. With much fewer, more
/// is compiled anew after an edit than was edited.
const CODEGEN_UNITS: u32 = 64;

/// The settings for a debug build of `plugin`, as `cargo --config` takes them.
pub fn of_debug_build(root: &Path, plugin: &str) -> Vec<String> {
    let mut written = vec![root.join("Cargo.toml")];
    for folder in root.ancestors() {
        written.extend(["config.toml", "config"].map(|name| folder.join(".cargo").join(name)));
    }
    let home = env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("config.toml"));
    let written = written
        .into_iter()
        .chain(home)
        .filter_map(|file| fs::read_to_string(file).ok());
    let tables: Vec<Table> = written.filter_map(|text| text.parse().ok()).collect();
    let is_set = |key: &str| {
        let variable = format!("CARGO_PROFILE_DEV_{}", key.replace('-', "_").to_uppercase());
        env::var_os(variable).is_some() || tables.iter().any(|table| writes(table, plugin, key))
    };
    given(plugin, env::var_os("CARGO_INCREMENTAL").is_some(), is_set)
}

fn given(plugin: &str, incremental_by_hand: bool, is_set: impl Fn(&str) -> bool) -> Vec<String> {
    let mut settings = Vec::new();
    // Without incremental compilation every piece is compiled at every save, and then cargo's 16 is better.
    if !incremental_by_hand && !is_set("incremental") && !is_set("codegen-units") {
        settings.push(format!("profile.dev.package.{plugin}.codegen-units={CODEGEN_UNITS}"));
    }
    // Of everything that goes into it: files and lines for backtraces remain, and the artifact, which is linked, published and hashed
    // at each save, is several times smaller.
    if !is_set("debug") {
        settings.push("profile.dev.debug=\"line-tables-only\"".to_owned());
    }
    settings
}

/// Whether `table`, a `Cargo.toml` or a configuration of cargo, sets `key` for debug builds of the plugin.
fn writes(table: &Table, plugin: &str, key: &str) -> bool {
    let profile = table.get("profile").and_then(|profiles| profiles.get("dev"));
    let packages = profile.and_then(|profile| profile.get("package"));
    let own = packages.and_then(|packages| packages.get(plugin));
    profile
        .into_iter()
        .chain(own)
        .any(|settings: &Value| settings.get(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(manifest: &str) -> Vec<String> {
        let table: Table = manifest.parse().expect("TOML");
        given("greeter", false, |key| writes(&table, "greeter", key))
    }

    #[test]
    fn who_writes_nothing_is_given_what_is_quick() {
        let expected = [
            "profile.dev.package.greeter.codegen-units=64",
            "profile.dev.debug=\"line-tables-only\"",
        ];
        assert_eq!(settings("[profile.release]\ndebug = true"), expected);
        assert_eq!(settings("[profile.dev.package.other]\ncodegen-units = 1"), expected);
    }

    #[test]
    fn what_somebody_has_written_stays() {
        let without_units = ["profile.dev.debug=\"line-tables-only\""];
        assert_eq!(
            settings("[profile.dev]\ndebug = true"),
            ["profile.dev.package.greeter.codegen-units=64"]
        );
        assert_eq!(settings("[profile.dev.package.greeter]\ncodegen-units = 8"), without_units);
        assert_eq!(settings("[profile.dev]\nincremental = false"), without_units);
        assert_eq!(given("greeter", true, |_| false), without_units);
        assert_eq!(settings("[profile.dev]\ndebug = 2\ncodegen-units = 1"), [""; 0]);
    }
}
