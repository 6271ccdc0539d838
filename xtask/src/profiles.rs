//! Copies profile settings into a workspace that builds some packages of another one. With the same settings cargo can reuse
//! compiled dependencies. Settings for missing packages are removed, because cargo would warn about them at each build.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// Keeps, in a workspace's `manifest`, the profile settings of packages that `members` depend on, as the workspace's `lock` file says.
pub fn keep_profiles_of(manifest: &mut Table, lock: &str, members: &[&str]) {
    let reached = dependencies(lock, members);
    let Some(Value::Table(profiles)) = manifest.get_mut("profile") else {
        return;
    };
    for (_, profile) in profiles {
        if let Some(Value::Table(packages)) = profile.get_mut("package") {
            packages.retain(|name, _| name == "*" || reached.contains(name));
        }
    }
}

/// The names of all direct and indirect dependencies of these packages.
fn dependencies(lock: &str, members: &[&str]) -> BTreeSet<String> {
    let lock: Table = lock.parse().unwrap_or_default();
    let packages = lock.get("package").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of = |wanted: &str| {
        let named = packages
            .iter()
            .filter(|package| package.get("name").and_then(Value::as_str) == Some(wanted));
        let lists = named.filter_map(|package| package.get("dependencies").and_then(Value::as_array));
        let names = lists.flatten().filter_map(Value::as_str);
        // If there are several versions of a package, the version follows the name.
        let names = names.map(|name| name.split(' ').next().unwrap_or(name).to_owned());
        names.collect::<Vec<_>>()
    };
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = members.iter().flat_map(|member| of(member)).collect();
    while let Some(name) = open.pop() {
        if !found.contains(&name) {
            open.extend(of(&name));
            found.insert(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        [[package]]
        name = "greeter"
        dependencies = ["serde 1.0.0", "api"]
        [[package]]
        name = "api"
        dependencies = ["rmp"]
        [[package]]
        name = "rmp"
        [[package]]
        name = "serde"
        [[package]]
        name = "vt100"
    "#;

    #[test]
    fn settings_of_a_members_dependencies_are_kept() {
        let mut manifest: Table = "[profile.dev.package.rmp]\nopt-level = 2\n[profile.dev.package.vt100]\nopt-level = 2\n\
             [profile.dev.package.greeter]\nopt-level = 2\n[profile.dev.package.\"*\"]\ndebug = false"
            .parse()
            .expect("a manifest");
        keep_profiles_of(&mut manifest, LOCK, &["greeter"]);
        let kept: Vec<_> = manifest["profile"]["dev"]["package"]
            .as_table()
            .expect("a table")
            .keys()
            .cloned()
            .collect();
        assert_eq!(kept, ["*", "rmp"]);
    }
}
