//! Records which compiler and which target this copy of the SDK was built with, so that every artifact can carry both in
//! its manifest; and from which sources, so that a host which has the very same ones knows the layouts to be the same.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

fn main() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=RESLOT_TOOLCHAIN={version}");
    println!("cargo::rustc-env=RESLOT_TARGET={}", env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=RESLOT_PROFILE={}", env::var("PROFILE").unwrap_or_default());
    println!("cargo::rustc-env=RESLOT_SOURCES={}", sources());
    for input in INPUTS {
        println!("cargo::rerun-if-changed={input}");
    }
}

/// What decides on the layout of everything in this crate. `abi_stable` is named with its exact version in the second.
const INPUTS: [&str; 3] = ["build.rs", "Cargo.toml", "src"];

/// A hash of all inputs. The standard library's may be another with another compiler, and then the compilers differ, too.
fn sources() -> u64 {
    let mut files: Vec<PathBuf> = INPUTS.iter().flat_map(|input| below(Path::new(input))).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
        // A file that cannot be read is the compiler's to complain of.
        fs::read(&file).unwrap_or_default().hash(&mut hasher);
    }
    hasher.finish()
}

fn below(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return vec![path.to_owned()];
    };
    entries.flatten().flat_map(|entry| below(&entry.path())).collect()
}
