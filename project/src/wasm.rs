//! The compiler for plugins in WebAssembly.

use crate::Error;
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// The target of plugins in WebAssembly.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The flags with which a panic unwinds in WebAssembly, by the exceptions of its standard. std has to be built with them as well.
pub const WASM_UNWIND_FLAGS: [&str; 3] = [
    "-Cpanic=unwind",
    "-Cllvm-args=-wasm-use-legacy-eh=false",
    "-Ctarget-feature=+exception-handling",
];

/// A compiler that has a standard library for WebAssembly.
///
/// ```
/// use reslot_project::WasmToolchain;
///
/// match WasmToolchain::installed() {
///     Ok(_) => println!("`PluginBuild::for_wasm` can be used"),
///     Err(error) => assert!(error.to_string().contains("rustup target add")),
/// }
/// ```
#[derive(Debug, Clone)]
pub struct WasmToolchain {
    variables: Vec<(&'static str, OsString)>,
    flags: Vec<OsString>,
}

impl WasmToolchain {
    /// The installed compiler, if it has the target. Its std does not unwind, so a panic of a plugin ends the plugin's instance.
    ///
    /// # Errors
    /// If the target is not installed.
    pub fn installed() -> Result<Self, Error> {
        let sysroot = sysroot()?;
        match sysroot.join("lib/rustlib").join(WASM_TARGET).join("lib").is_dir() {
            true => Ok(Self {
                variables: Vec::new(),
                flags: Vec::new(),
            }),
            false => Err(Error::NoWasm { sysroot }),
        }
    }

    /// The compiler in another folder, with libraries that it needs, and a std that unwinds. The linker is that of the installed compiler.
    ///
    /// # Errors
    /// If the installed compiler is not found.
    pub fn unwinding(rustc: &Path, libraries: &Path) -> Result<Self, Error> {
        let mut linker = OsString::from("-Clinker=");
        linker.push(sysroot()?.join("lib/rustlib").join(HOST).join("bin/rust-lld"));
        let flags = WASM_UNWIND_FLAGS.iter().map(Into::into).chain([linker]);
        Ok(Self {
            variables: vec![("RUSTC", rustc.into()), ("LD_LIBRARY_PATH", libraries.into())],
            flags: flags.collect(),
        })
    }

    /// Makes cargo compile with it. The target is not among the changes.
    pub fn apply(&self, cargo: &mut Command) {
        // These have precedence over all other flags, which may be meant for another target.
        let flags = self.flags.join("\u{1f}".as_ref());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).env_remove("RUSTFLAGS");
        for (name, value) in &self.variables {
            cargo.env(name, value);
        }
    }
}

/// The platform of the compiler that has built this program, and of the one that it calls.
const HOST: &str = match cfg!(target_arch = "aarch64") {
    true => "aarch64-unknown-linux-gnu",
    false => "x86_64-unknown-linux-gnu",
};

/// Where the installed compiler has its libraries and linkers.
fn sysroot() -> Result<PathBuf, Error> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let failed = |why: String| Error::Compiler {
        at: PathBuf::from(&rustc),
        why,
    };
    let output = Command::new(&rustc).args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
