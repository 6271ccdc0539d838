//! Files of builds, and hosts for them.

use crate::{
    engine::{ScriptEngine, artifact},
    world::Script,
};
use reslot_plugin_api::LinkedPlugin;
use reslot_runtime::{Host, HostBuilder, Policy};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
};

const PREFIX: &str = "reslot-explore-";

/// Removes what ended processes have left.
fn sweep(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        if process.is_some_and(|(process, _)| !Path::new("/proc").join(process).exists()) {
            remove(&entry.path());
        }
    }
}

/// Removes the private folders that hosts of earlier executions have left, because an image of theirs stays mapped.
pub fn begin() {
    for entry in std::fs::read_dir(FOLDER.path()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("reslot-") {
            remove(&entry.path());
        }
    }
}

/// The folder of this process, for artifacts and private folders. It is in memory, if the machine has such a folder.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    sweep(&base);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(base);
    made.unwrap_or_else(|error| panic!("no temporary folder: {error}"))
});

/// The file of this build. It is written once.
pub fn file(plugin: LinkedPlugin, script: &Script) -> PathBuf {
    static WRITTEN: Mutex<BTreeMap<Vec<u8>, PathBuf>> = Mutex::new(BTreeMap::new());
    let bytes = artifact(plugin, script);
    let mut written = WRITTEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let number = written.len();
    let path = written.entry(bytes).or_insert_with_key(|bytes| {
        let path = FOLDER.path().join(format!("lib{}-{number}.so", plugin.name()));
        std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    });
    path.clone()
}

/// A good build with this version.
pub fn build(plugin: LinkedPlugin, version: u64) -> PathBuf {
    let script = Script {
        version,
        ..Script::default()
    };
    file(plugin, &script)
}

/// A host for such files.
pub fn builder(policy: Policy) -> HostBuilder {
    Host::builder()
        .private_base(FOLDER.path())
        .file_engine(Arc::new(ScriptEngine))
        .policy(policy)
}

/// Removes the files of this process, at its end.
pub fn clean_up() {
    remove(FOLDER.path());
}

/// A folder that no earlier execution has used.
pub fn fresh_folder() -> PathBuf {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = FOLDER.path().join(format!("run-{number}"));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
    folder
}

/// Removes a folder of [`fresh_folder`].
pub fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}
