//! A compiler with a standard library for WebAssembly. Where rustup has the target, it is the installed one. Otherwise Debian's package of a
//! newer compiler is unpacked into the cache folder, together with std's sources, and std is built once, so that panics unwind. The packages are
//! not installed, because they conflict with other packages of a compiler.

use crate::{Error, debian};
use reslot_project::{WASM_TARGET, WASM_UNWIND_FLAGS, WasmToolchain, Workspace, cargo};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

const PROGRAM: &str = "rustc-web";

/// The oldest compiler that compiles plugins: `rust-version` of the workspace.
const OLDEST: (u32, u32) = (1, 91);

/// The installed compiler if it has the target, or one in the cache folder of the workspace. The first time it downloads 140 MB and compiles for
/// one to three minutes.
///
/// # Errors
/// If packages cannot be downloaded, or std cannot be built.
pub fn toolchain(workspace: &Workspace) -> Result<WasmToolchain, Error> {
    if let Ok(installed) = WasmToolchain::installed() {
        return Ok(installed);
    }
    let cache = debian::cache(workspace);
    let root = cache.join("wasm-compiler");
    if !root.join(COMPLETE).is_file() {
        fs::create_dir_all(&cache).map_err(Error::io("make", &cache))?;
        let lock = cache.join("wasm-compiler.lock");
        let file = fs::File::create(&lock).map_err(Error::io("make", &lock))?;
        file.lock().map_err(Error::io("lock", &lock))?;
        if !root.join(COMPLETE).is_file() {
            make(&cache, &root)?;
        }
    }
    of(&root)
}

/// Made when everything else is there.
const COMPLETE: &str = "complete";

fn of(root: &Path) -> Result<WasmToolchain, Error> {
    let libraries = root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
    let toolchain = WasmToolchain::unwinding(&root.join("usr/bin/rustc"), &libraries);
    toolchain.map_err(|error| failed(error.to_string()))
}

fn failed(why: String) -> Error {
    Error::Tool { program: PROGRAM, why }
}

/// Fills `root`. A name that std's build depends on must not change later, so it is filled in place.
fn make(cache: &Path, root: &Path) -> Result<(), Error> {
    let _ = fs::remove_dir_all(root);
    let work = tempfile::Builder::new().prefix("wasm-compiler-").tempdir_in(cache);
    let work = work.map_err(Error::io("make a folder in", cache))?;
    let work = work.path();
    let lists = work.join("lists");

    // The names of the libraries contain versions, which only the packages know.
    let first = ["rustc-web", "libstd-rust-web-dev", "rust-web-src"].map(str::to_owned);
    let mut packages = debian::download_newest(&first, &lists, work)?;
    let version = debian::field(&packages[0], "Version")?;
    if number(&version).is_none_or(|found| found < OLDEST) {
        return Err(failed(format!(
            "the newest package is of version {version}, and plugins need Rust {}.{}",
            OLDEST.0, OLDEST.1
        )));
    }
    let std = needed(&packages[1], "libstd-rust-web-")?;
    packages.extend(debian::download_newest(&[std], &lists, work)?);
    let llvm = needed(&packages[3], "libllvm")?;
    packages.extend(debian::download_newest(&[llvm], &lists, work)?);
    let sources = packages.remove(2);
    for package in &packages {
        debian::extract(package, root)?;
    }
    debian::extract(&sources, &work.join("sources"))?;
    build_std(root, work)?;
    let complete = root.join(COMPLETE);
    fs::write(&complete, version).map_err(Error::io("write", &complete))
}

/// The first two numbers of a version.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The package whose name begins like this, among those that a package depends on.
fn needed(package: &Path, begins: &str) -> Result<String, Error> {
    let depends = debian::field(package, "Depends")?;
    let mut names = depends.split(',').filter_map(|one| one.split_whitespace().next());
    let found = names.find(|name| name.starts_with(begins));
    found.map(str::to_owned).ok_or_else(|| {
        failed(format!(
            "the package {} depends on no {begins}…, but on: {depends}",
            package.display()
        ))
    })
}

/// Builds std for WebAssembly with the compiler in `root`, and adds it there.
fn build_std(root: &Path, work: &Path) -> Result<(), Error> {
    let source = work.join("sources/usr/src");
    let entries = fs::read_dir(&source).map_err(Error::io("read", &source))?;
    let library = entries.flatten().map(|entry| entry.path().join("library"));
    let library = library.filter(|library| library.is_dir()).last();
    let library = library.ok_or_else(|| failed(format!("there are no sources of std in {}", source.display())))?;
    let place = root.join("usr/lib/rustlib/src/rust");
    fs::create_dir_all(&place).map_err(Error::io("make", &place))?;
    let link = place.join("library");
    symlink(&library, &link).map_err(Error::io("make", &link))?;

    let package = work.join("package");
    let (manifest, main) = (package.join("Cargo.toml"), package.join("src/lib.rs"));
    fs::create_dir_all(package.join("src")).map_err(Error::io("make", &package))?;
    fs::write(&manifest, PACKAGE).map_err(Error::io("write", &manifest))?;
    fs::write(&main, "").map_err(Error::io("write", &main))?;
    let target = work.join("target");
    let mut build = cargo();
    build
        .current_dir(&package)
        .args(["build", "--release", "-Zbuild-std=std,panic_unwind"]);
    build.args(["--target", WASM_TARGET, "--target-dir"]).arg(&target);
    of(root)?.apply(&mut build);
    // Only for this build: std cannot be compiled otherwise.
    build.env("RUSTC_BOOTSTRAP", "1");
    build.env("CARGO_ENCODED_RUSTFLAGS", WASM_UNWIND_FLAGS.join("\u{1f}"));
    debian::succeed(PROGRAM, build)?;
    // The sources go away with the work folder.
    fs::remove_file(&link).map_err(Error::io("delete", &link))?;

    let into = root.join("usr/lib/rustlib").join(WASM_TARGET).join("lib");
    fs::create_dir_all(&into).map_err(Error::io("make", &into))?;
    let built = target.join(WASM_TARGET).join("release/deps");
    for file in libraries_in(&built)? {
        let to = into.join(file.file_name().unwrap_or_default());
        fs::copy(&file, &to).map_err(Error::io("write", &to))?;
    }
    Ok(())
}

fn libraries_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let files = entries.flatten().map(|entry| entry.path());
    Ok(files
        .filter(|file| file.extension().is_some_and(|end| end == "rlib"))
        .collect())
}

/// A package without content, so that cargo builds std.
const PACKAGE: &str = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n[workspace]\n";

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(number("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert!(number("1.100.0") > number("1.91.0"));
        assert_eq!(number("no version"), None);
    }
}
