//! The plugin, compiled once for each of the two engines.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{LazyLock, OnceLock},
};
use xtask::{PluginBuild, Profile, Workspace};

static WORKSPACE: LazyLock<Workspace> =
    LazyLock::new(|| Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("it is ours"));

/// A folder for compiled modules, which is reused by the next run.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-modules")
}

/// The module.
pub(crate) fn module() -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || {
        let toolchain = xtask::wasm::toolchain(&WORKSPACE).expect("there is a compiler for WebAssembly");
        let package = WORKSPACE.loadable("fx-sandboxed").expect("it is there");
        let build = PluginBuild::new(&WORKSPACE, package, Profile::Release).quiet();
        let built = build.for_wasm(&WORKSPACE, toolchain).build().expect("it compiles");
        fs::read(built.library).expect("it is there")
    };
    BUILT.get_or_init(build).clone()
}

/// The library.
pub(crate) fn native() -> Vec<u8> {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    let build = || {
        let package = WORKSPACE.loadable("fx-sandboxed").expect("it is there");
        let build = PluginBuild::new(&WORKSPACE, package, Profile::of_this_program()).quiet();
        fs::read(build.build().expect("it compiles").library).expect("it is there")
    };
    BUILT.get_or_init(build).clone()
}

/// Another build of the module: with a number in a section that nobody reads.
pub(crate) fn version(number: usize) -> Vec<u8> {
    stamped(module(), number)
}

/// The same for both formats: what follows the end of a library is not read either.
pub(crate) fn stamped(mut bytes: Vec<u8>, number: usize) -> Vec<u8> {
    let number = format!("{number:08}");
    if bytes.starts_with(b"\0asm") {
        bytes.extend_from_slice(&[0, 15, 6]);
        bytes.extend_from_slice(b"number");
    }
    bytes.extend_from_slice(number.as_bytes());
    bytes
}
