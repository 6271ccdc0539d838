//! From a plugin's source to a file that a host can load: it builds with cargo, then publishes by rename.
//!
//! Cargo names the finished library in its message stream before it writes its own files and ends. The library is published
//! at that moment, and `cargo metadata` is not called again, so publishing adds almost no time to a build.
//!
//! A host must never see half a file. So the library is copied under a hidden name in the *same folder* and renamed, which
//! is one atomic step. A hard link would be faster, but a linker that overwrites its old output would then change the
//! published file. A library that equals the published one is not published again, because hosts would skip it anyway.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;

use crate::{
    Error, Package, Workspace,
    cargo_output::{self, Progress},
    wasm::{WASM_TARGET, WasmToolchain},
    workspace::cargo,
};

/// Which of cargo's profiles a plugin is built with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// `cargo build`
    #[default]
    Debug,
    /// `cargo build --release`
    Release,
}

impl Profile {
    /// The profile of the calling program.
    pub fn of_this_program() -> Self {
        if cfg!(debug_assertions) { Self::Debug } else { Self::Release }
    }

    /// Cargo's arguments for this profile.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Profile::Debug => &[],
            Profile::Release => &["--release"],
        }
    }
}

/// A build of one plugin. It can be run any number of times.
#[derive(Debug, Clone)]
pub struct PluginBuild {
    root: PathBuf,
    name: String,
    id: String,
    profile: Profile,
    quiet: bool,
    settings: Vec<String>,
    wasm: Option<(WasmToolchain, PathBuf)>,
}

/// A library that cargo has just finished, or found to be up to date.
#[derive(Debug, Clone)]
pub struct Built {
    /// The library, where cargo put it.
    pub library: PathBuf,
    /// From the start of cargo to the finished library.
    pub built_in: Duration,
    /// Cargo had nothing to compile.
    pub was_fresh: bool,
}

/// A published library.
#[derive(Debug, Clone)]
pub struct Published {
    /// The published file.
    pub file: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// From the start of cargo to the finished library.
    pub built_in: Duration,
    /// When cargo was started.
    pub started: SystemTime,
    /// From the start of cargo to the published library.
    pub published_in: Duration,
    /// Whether it differs from the file that was published before. If not, nothing was written.
    pub is_new: bool,
}

impl PluginBuild {
    /// A build of `plugin`, with cargo's progress and the compiler's messages on standard error.
    pub fn new(workspace: &Workspace, plugin: &Package, profile: Profile) -> PluginBuild {
        PluginBuild {
            root: workspace.root.clone(),
            name: plugin.name.clone(),
            id: plugin.id.clone(),
            profile,
            quiet: false,
            settings: Vec::new(),
            wasm: None,
        }
    }

    /// Builds a module of WebAssembly, `NAME.wasm`, instead of a library. Cargo works in a target folder of its own, below that of the
    /// workspace, because the compiler may be another one.
    pub fn for_wasm(mut self, workspace: &Workspace, toolchain: WasmToolchain) -> PluginBuild {
        self.wasm = Some((toolchain, workspace.target.join("reslot").join("wasm")));
        self
    }

    /// Adds settings, each in the form of `cargo --config`.
    pub fn with_settings(mut self, settings: impl IntoIterator<Item = String>) -> PluginBuild {
        self.settings.extend(settings);
        self
    }

    /// Hides cargo's progress. The compiler's messages are still shown.
    pub fn quiet(mut self) -> PluginBuild {
        self.quiet = true;
        self
    }

    /// The plugin's package.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Builds the plugin without publishing it.
    pub fn build(&self) -> Result<Built, Error> {
        self.run(Ok)
    }

    /// Builds the plugin, and publishes the library in `folder` as soon as it is finished.
    pub fn publish_to(&self, folder: &Path) -> Result<Published, Error> {
        let (started, begun) = (SystemTime::now(), Instant::now());
        self.run(|built| {
            let (file, size, is_new) = publish(&built.library, folder)?;
            Ok(Published {
                file,
                size,
                built_in: built.built_in,
                started,
                published_in: begun.elapsed(),
                is_new,
            })
        })
    }

    fn run<T>(&self, finished: impl FnOnce(Built) -> Result<T, Error>) -> Result<T, Error> {
        let started = Instant::now();
        let mut command = cargo();
        // A plugin may also be an rlib, for programs that link it. A library that is compiled as both cannot be loaded, so
        // only the cdylib is built.
        command.current_dir(&self.root).args([
            "rustc",
            "--lib",
            "--crate-type",
            "cdylib",
            "--message-format=json-render-diagnostics",
            "-p",
            &self.name,
        ]);
        command.args(self.profile.arguments());
        for setting in &self.settings {
            command.args(["--config", setting]);
        }
        let mut extension = std::env::consts::DLL_EXTENSION;
        if let Some((toolchain, target)) = &self.wasm {
            command.args(["--target", WASM_TARGET, "--target-dir"]).arg(target);
            toolchain.apply(&mut command);
            extension = "wasm";
        }
        let mut finished = Some(finished);
        let mut outcome = None;
        let mut by_compiler = false;
        let hear = |line: &str| match heard(line, &self.id, extension) {
            Heard::Library { library, was_fresh } => {
                outcome = finished.take().map(|finished| {
                    finished(Built {
                        library,
                        built_in: started.elapsed(),
                        was_fresh,
                    })
                });
            }
            Heard::CompileError => by_compiler = true,
            Heard::Nothing => {}
        };
        let progress = if self.quiet { Progress::IfSlow } else { Progress::All };
        let status = cargo_output::run(&mut command, progress, hear)?;
        match outcome {
            _ if !status.success() => Err(Error::Compile {
                plugin: self.name.clone(),
                status,
                by_compiler,
            }),
            None => Err(Error::NoLibrary {
                plugin: self.name.clone(),
            }),
            Some(outcome) => outcome,
        }
    }
}

/// Puts a copy of `library` into `folder` in one step, unless an equal file is there. Returns the published file, its size,
/// and whether it is new.
pub fn publish(library: &Path, folder: &Path) -> Result<(PathBuf, u64, bool), Error> {
    let Some(file_name) = library.file_name() else {
        return Err(Error::io("publish", library)(io::ErrorKind::IsADirectory.into()));
    };
    let file = folder.join(file_name);
    let mut content = File::open(library).map_err(Error::io("read", library))?;
    let metadata = content.metadata().map_err(Error::io("read", library))?;
    let size = metadata.len();
    if holds(&file, &mut content, size) {
        return Ok((file, size, false));
    }
    content.rewind().map_err(Error::io("read", library))?;
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let stem = library.file_stem().unwrap_or(file_name).to_string_lossy();
    let mut copy = tempfile::Builder::new()
        .prefix(&format!(".{}.{}.", stem.strip_prefix("lib").unwrap_or(&stem), process::id()))
        .suffix(".tmp")
        .tempfile_in(folder)
        .map_err(Error::io("write into", folder))?;
    // The kernel copies from file to file, and shares the blocks if the file system can.
    io::copy(&mut content, copy.as_file_mut()).map_err(Error::io("write", copy.path()))?;
    copy.as_file()
        .set_permissions(metadata.permissions())
        .map_err(Error::io("write", copy.path()))?;
    // The copy is closed before it is renamed, because a host does not load a file that is open for writing.
    copy.into_temp_path()
        .persist(&file)
        .map_err(|error| Error::io("publish", &file)(error.error))?;
    Ok((file, size, true))
}

/// Whether `file` exists with exactly this content. Two builds differ near their beginning, so mostly only a small part is
/// read.
fn holds(file: &Path, content: &mut File, size: u64) -> bool {
    const AT_ONCE: usize = 64 * 1024;
    let Ok(mut file) = File::open(file) else { return false };
    if file.metadata().map_or(true, |found| found.len() != size) {
        return false;
    }
    let (mut here, mut there) = (Vec::with_capacity(AT_ONCE), Vec::with_capacity(AT_ONCE));
    loop {
        here.clear();
        there.clear();
        let read = content.take(AT_ONCE as u64).read_to_end(&mut here);
        let found = (&mut file).take(AT_ONCE as u64).read_to_end(&mut there);
        if read.is_err() || found.is_err() || here != there {
            return false;
        }
        if here.is_empty() {
            return true;
        }
    }
}

/// The meaning of one line of cargo's messages for a plugin's build.
#[derive(Debug, PartialEq)]
enum Heard {
    /// The plugin's library is finished, or was up to date.
    Library { library: PathBuf, was_fresh: bool },
    /// The build ended because the compiler or the linker failed. If cargo fails for a reason of its own, this message is missing.
    CompileError,
    /// Something else.
    Nothing,
}

/// Reads one line of cargo's messages for the package `id`. The library's name ends with `extension`.
fn heard(line: &str, id: &str, extension: &str) -> Heard {
    let Ok(message) = serde_json::from_str::<Message>(line) else {
        return Heard::Nothing;
    };
    if message.reason == "build-finished" && message.success == Some(false) {
        return Heard::CompileError;
    }
    let concerns_us = message.reason == "compiler-artifact" && message.package_id.as_deref() == Some(id);
    let is_loadable = message
        .target
        .is_some_and(|target| target.kind.iter().any(|kind| kind == "cdylib"));
    if !concerns_us || !is_loadable {
        return Heard::Nothing;
    }
    let is_dynamic = |file: &PathBuf| file.extension().is_some_and(|found| found == extension);
    match message.filenames.into_iter().find(is_dynamic) {
        Some(library) => Heard::Library {
            library,
            was_fresh: message.fresh,
        },
        None => Heard::Nothing,
    }
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<MessageTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    #[serde(default)]
    fresh: bool,
    success: Option<bool>,
}

#[derive(Deserialize)]
struct MessageTarget {
    kind: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env::consts::DLL_EXTENSION;

    const ID: &str = "path+file:///w/plugins/greeter#0.1.0";

    fn message(id: &str, kind: &str, fresh: bool) -> String {
        let dll = DLL_EXTENSION;
        format!(
            r#"{{"reason":"compiler-artifact","package_id":"{id}","target":{{"kind":["{kind}"],"name":"greeter"}},
                "filenames":["/t/debug/libgreeter.rlib","/t/debug/libgreeter.{dll}"],"executable":null,"fresh":{fresh}}}"#
        )
    }

    #[test]
    fn the_dynamic_library_is_taken_from_the_plugins_own_message() {
        let expected = Path::new("/t/debug/libgreeter").with_extension(DLL_EXTENSION);
        for was_fresh in [false, true] {
            let library = expected.clone();
            assert_eq!(
                heard(&message(ID, "cdylib", was_fresh), ID, DLL_EXTENSION),
                Heard::Library { library, was_fresh }
            );
        }
    }

    #[test]
    fn messages_about_anything_else_are_passed_over() {
        assert_eq!(
            heard(&message("path+file:///w/other#0.1.0", "cdylib", false), ID, DLL_EXTENSION),
            Heard::Nothing
        );
        assert_eq!(heard(&message(ID, "bin", false), ID, DLL_EXTENSION), Heard::Nothing);
        assert_eq!(
            heard(r#"{"reason":"build-finished","success":true}"#, ID, DLL_EXTENSION),
            Heard::Nothing
        );
        assert_eq!(heard("   Compiling greeter v0.1.0", ID, DLL_EXTENSION), Heard::Nothing);
    }

    #[test]
    fn build_failed_by_the_compiler_differs_from_one_failed_by_cargo() {
        assert_eq!(
            heard(r#"{"reason":"build-finished","success":false}"#, ID, DLL_EXTENSION),
            Heard::CompileError
        );
    }

    #[test]
    fn a_target_folder_that_cannot_be_made_is_no_fault_of_the_source() {
        let workspace = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("ours");
        let greeter = workspace.plugin("greeter").expect("it is one");
        let build = PluginBuild::new(&workspace, greeter, Profile::Debug).quiet();
        let build = build.with_settings([r#"build.target-dir="/proc/reslot""#.to_owned()]);
        let error = build.build().expect_err("nobody can make a folder there").to_string();
        assert!(error.contains("cargo names the reason above"), "{error}");
        assert!(!error.contains("compiler names"), "{error}");
    }

    #[test]
    fn a_library_is_published_once_and_leaves_nothing_else_behind() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let library = scratch.path().join("libgreeter.so");
        let folder = scratch.path().join("plugins");
        fs::write(&library, "one").expect("write");
        assert!(publish(&library, &folder).expect("first").2);
        assert!(!publish(&library, &folder).expect("the same again").2);
        fs::write(&library, "two").expect("write");
        assert!(publish(&library, &folder).expect("as long, and different").2);
        let mut long = vec![7; 200_000];
        for last in [7, 8] {
            long[199_999] = last;
            fs::write(&library, &long).expect("write");
            assert!(publish(&library, &folder).expect("different at its end").2);
            assert!(!publish(&library, &folder).expect("the same again").2);
        }
        fs::write(&library, "two").expect("write");
        let (file, size, is_new) = publish(&library, &folder).expect("changed");
        assert_eq!(
            (fs::read(&file).expect("published"), size, is_new),
            (b"two".to_vec(), 3, true)
        );
        let names: Vec<_> = fs::read_dir(&folder)
            .expect("list")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(names, ["libgreeter.so"]);
    }
}
