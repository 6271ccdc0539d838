//! The verb `new-project DIR`: makes a workspace with an interface, a plugin, its test, and a program that calls it. The
//! verbs work in the new workspace, too.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};

use super::{Caller, Crates, new_plugin::write, paint};

/// The command line.
#[derive(clap::Args)]
pub struct Arguments {
    /// A new folder; its name becomes the program's name
    folder: PathBuf,
}

/// The path and the text of each file. `NAME` is the program's name, `CRATE` the same as in a `use`, `COMMAND` what the user
/// types before a verb. `DEPENDENCY(…)` is the source of a crate of Reslot.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("../../data/new/Cargo.toml.in")),
    ("interfaces/Cargo.toml", include_str!("../../data/new/interfaces.toml.in")),
    ("interfaces/src/lib.rs", include_str!("../../data/new/interfaces.rs.in")),
    ("plugins/hello/Cargo.toml", include_str!("../../data/new/plugin.toml.in")),
    ("plugins/hello/src/lib.rs", include_str!("../../data/new/plugin.rs.in")),
    ("plugins/hello/tests/reload.rs", include_str!("../../data/new/reload.rs.in")),
    ("program/Cargo.toml", include_str!("../../data/new/program.toml.in")),
    ("program/src/main.rs", include_str!("../../data/new/program.rs.in")),
];

/// This configuration makes `cargo xtask` work in the new workspace. `RESLOT` is the clone.
const VERBS_OF_CLONE: &str = include_str!("../../data/new/config.toml.in");

/// The crates of Reslot that a new workspace depends on.
const RESLOT: [&str; 3] = ["reslot", "reslot-plugin-api", "reslot-testkit"];

/// Names of packages of the new workspace, and names that cargo reserves.
const TAKEN: [&str; 8] = [
    "hello",
    "reslot",
    "test",
    "deps",
    "build",
    "examples",
    "incremental",
    "plugins",
];

/// Makes the project.
///
/// # Errors
/// If the folder's name is not valid, the folder is not empty, or a file cannot be written.
pub fn run(caller: &Caller, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let folder = std::path::absolute(&arguments.folder)?;
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        && !TAKEN.contains(&name);
    ensure!(
        fits,
        "`{name}` is not a valid name of a program: a name begins with a letter, has only a-z 0-9 - _, and is not one of {}",
        TAKEN.join(", ")
    );
    let is_empty = |folder: &PathBuf| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        !folder.exists() || is_empty(&folder),
        "{} exists already and is not empty: choose another folder",
        folder.display()
    );
    for (file, text) in FILES {
        write(&folder.join(file), &filled_in(caller, name, text)?)?;
    }
    write(&folder.join(".gitignore"), "/target\n")?;
    if let Crates::Clone(clone) = &caller.crates {
        let configuration = VERBS_OF_CLONE.replace("RESLOT", &clone.display().to_string());
        write(&folder.join(".cargo/config.toml"), &configuration)?;
        // The versions that the clone is tested with.
        let lock = clone.join("Cargo.lock");
        fs::copy(&lock, folder.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;
    }

    paint::line(format_args!("{} {}", paint::good("made"), folder.display()));
    paint::line(format_args!(
        "  interfaces/src/lib.rs       the interface between the program and its plugins"
    ));
    paint::line(format_args!("  plugins/hello/src/lib.rs    a plugin"));
    paint::line(format_args!("  program/src/main.rs         a program that calls it"));
    paint::line(format_args!("next:"));
    paint::line(format_args!("  cd {}", arguments.folder.display()));
    let build = format!("{} build-plugin --watch", caller.command);
    paint::line(format_args!("  {build:<35} # in one terminal: builds at each save"));
    paint::line(format_args!(
        "  cargo run -p {name:<22} # in another terminal, after the first one prints `published`"
    ));
    Ok(ExitCode::SUCCESS)
}

fn filled_in(caller: &Caller, name: &str, text: &str) -> anyhow::Result<String> {
    let mut text = text
        .replace("CRATE", &name.replace('-', "_"))
        .replace("NAME", name)
        .replace("COMMAND", caller.command);
    // These are replaced last, because a path may contain any of the other words.
    for package in RESLOT {
        let placeholder = format!("DEPENDENCY({package})");
        if text.contains(&placeholder) {
            text = text.replace(&placeholder, &caller.crates.dependency(package)?);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled_in() {
        let caller = Caller {
            command: "reslot",
            crates: Crates::Registry {
                reslot: "1.2.3",
                plugin_api: "4.5.6",
            },
        };
        let texts = FILES.map(|(_, text)| filled_in(&caller, "my-game", text).expect("nothing is looked up"));
        for (text, (file, _)) in texts.iter().zip(FILES) {
            for placeholder in ["CRATE", "NAME", "COMMAND", "DEPENDENCY"] {
                assert!(!text.contains(placeholder), "{file} has a {placeholder}:\n{text}");
            }
        }
        let manifest = &texts[0];
        for line in [
            "reslot = \"1.2.3\"",
            "reslot-plugin-api = \"4.5.6\"",
            "reslot-testkit = \"1.2.3\"",
        ] {
            assert!(manifest.lines().any(|found| found == line), "{line} is not in:\n{manifest}");
        }
    }
}
