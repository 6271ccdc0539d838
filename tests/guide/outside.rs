//! What a user has who has no clone: Reslot's crates as a registry would have them, in a folder that is a directory source of cargo's, and the
//! program `reslot`, installed from them.

use crate::{finish, repository, run, share_compiled, shell};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where cargo looks for its configuration, seen from any folder below.
const CONFIGURATION: &str = ".cargo/config.toml";

/// Makes a directory source of these crates and of all that they depend on, and configures cargo for the folder: it takes them from there.
fn unpack(names: &str, folder: &Path) {
    let (crates, configuration) = (folder.join("crates"), folder.join(CONFIGURATION));
    fs::create_dir_all(folder.join(".cargo")).expect("a new folder");
    let (crates, configuration) = (crates.display(), configuration.display());
    run(
        &format!("cargo xtask package --directory {crates} {names} > {configuration}"),
        repository(),
    );
}

/// A folder outside of the repository. Cargo finds Reslot's crates in every folder below it, by their versions.
pub struct Outside {
    scratch: tempfile::TempDir,
}

impl Outside {
    /// Packages the crates, and installs the program.
    pub fn new() -> Self {
        let outside = Self {
            scratch: tempfile::tempdir().expect("a scratch folder"),
        };
        unpack("reslot reslot-plugin-api reslot-testkit", outside.folder());
        // This test was compiled from the other crates that a new project needs, so that they are on this machine.
        let configuration = outside.folder().join(CONFIGURATION);
        let text = fs::read_to_string(&configuration).expect("it was written");
        fs::write(&configuration, text + "\n[net]\noffline = true\n").expect("it can be written");
        outside.install();
        outside
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    fn install(&self) {
        let folder = self.folder().join("program");
        unpack("reslot-cli", &folder);
        let profiles = folder.join("profiles.toml");
        fs::write(&profiles, profiles_of_a_new_project()).expect("it can be written");
        let target = folder.join("target");
        share_compiled(&target);
        // `cargo install` reads no configuration of the folder that it is called in.
        let install = format!(
            "cargo install reslot-cli --registry reslot --locked --debug --root {} --config {} --config {}",
            self.installed().display(),
            folder.join(CONFIGURATION).display(),
            profiles.display(),
        );
        // The network is used only if a crate has not been downloaded yet.
        let mut command = shell(&format!("{install} --offline || {install}"), &folder);
        command.env("CARGO_TARGET_DIR", target);
        finish(command);
    }

    fn installed(&self) -> PathBuf {
        self.folder().join("installed")
    }

    /// A command for the shell, which finds the installed program.
    pub fn shell(&self, line: &str, folder: &Path) -> Command {
        let mut command = shell(line, folder);
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.installed().join("bin")].into_iter().chain(env::split_paths(&path));
        command.env("PATH", env::join_paths(folders).expect("no folder has a colon in it"));
        command
    }
}

/// With the same profiles, cargo finds the dependencies compiled.
fn profiles_of_a_new_project() -> String {
    let template = repository().join("project/data/new/Cargo.toml.in");
    let text = fs::read_to_string(template).expect("the template is there");
    let (_, profiles) = text.split_once("[profile.dev]").expect("it has profiles");
    format!("[profile.dev]{profiles}")
}
