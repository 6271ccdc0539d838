//! Records which compiler and which target this copy of the SDK was built with, so that every artifact can carry both in
//! its manifest.

use std::{env, process::Command};

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
    println!("cargo::rerun-if-changed=build.rs");
}
