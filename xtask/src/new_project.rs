//! `cargo xtask new-project DIR`: a workspace of the user's own beside this repository, with an interface, a plugin, its test, and a
//! program that calls it. The verbs work there as they do here.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};

use crate::{new_plugin::write, paint};

#[derive(clap::Args)]
pub struct Arguments {
    /// A new folder; its name is the program's
    folder: PathBuf,
}

/// Where each file goes, and its text. `NAME` is the program's name, `CRATE` the same as it is written in a `use`, `RESLOT` this
/// repository.
const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("../data/project/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("../data/project/config.toml.in")),
    ("interfaces/Cargo.toml", include_str!("../data/project/interfaces.toml.in")),
    ("interfaces/src/lib.rs", include_str!("../data/project/interfaces.rs.in")),
    ("plugins/hello/Cargo.toml", include_str!("../data/project/plugin.toml.in")),
    ("plugins/hello/src/lib.rs", include_str!("../data/project/plugin.rs.in")),
    ("plugins/hello/tests/reload.rs", include_str!("../data/project/reload.rs.in")),
    ("program/Cargo.toml", include_str!("../data/project/program.toml.in")),
    ("program/src/main.rs", include_str!("../data/project/program.rs.in")),
];

/// Names that packages of the new workspace have, or that cargo keeps for itself.
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

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let folder = std::path::absolute(&arguments.folder)?;
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        && !TAKEN.contains(&name);
    ensure!(
        fits,
        "`{name}` cannot be a program's name: it begins with a letter, has none but a-z 0-9 - _, and is none of {}",
        TAKEN.join(", ")
    );
    let is_empty = |folder: &PathBuf| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    ensure!(
        !folder.exists() || is_empty(&folder),
        "{} is there already, and not empty: choose another folder",
        folder.display()
    );
    let reslot = crate::repository();
    for (file, text) in FILES {
        // The path last: it may have any of these words in it.
        let text = text
            .replace("CRATE", &name.replace('-', "_"))
            .replace("NAME", name)
            .replace("RESLOT", &reslot.display().to_string());
        write(&folder.join(file), &text)?;
    }
    write(&folder.join(".gitignore"), "/target\n")?;
    // The versions that this repository is tested with.
    let lock = reslot.join("Cargo.lock");
    fs::copy(&lock, folder.join("Cargo.lock")).with_context(|| format!("cannot copy {}", lock.display()))?;

    anstream::println!("{} {}", paint::good("made"), folder.display());
    anstream::println!("  interfaces/src/lib.rs       what the program and its plugins agree on");
    anstream::println!("  plugins/hello/src/lib.rs    a plugin");
    anstream::println!("  program/src/main.rs         a program that calls it");
    anstream::println!("next:");
    anstream::println!("  cd {}", arguments.folder.display());
    anstream::println!("  cargo xtask build-plugin --watch    # in one terminal: builds at each save");
    anstream::println!("  cargo run -p {name:<22} # in another, once that says `published`");
    Ok(ExitCode::SUCCESS)
}
