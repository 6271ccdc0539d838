//! The workspace in which the demo and the save-to-live benchmark change a plugin. It has a copy of plugins/momentum, so
//! that the repository is not changed, and uses the repository's versions, profiles and target folder, so that little is
//! compiled twice. Only one program at a time can use such a workspace.

use crate::words::{bad, dim, good};
use anyhow::{Context, bail, ensure};
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use toml::{Table, Value};
use xtask::{PluginBuild, Profile, Workspace, keep_profiles_of};

/// The plugin to change.
pub const PLUGIN: &str = "momentum";
/// The changed lines.
const EDIT: [(&str, &str); 2] = [
    ("const EDITION: u32 = 1;", "const EDITION: u32 = 2;"),
    ("const THRESHOLD: f64 = 0.00020;", "const THRESHOLD: f64 = 0.00010;"),
];

/// A mistake that neither the compiler nor the first hundred prices reveal.
const MISTAKE: (&str, &str) = (
    "        self.ticks += 1;",
    "        self.ticks += 1;\n        assert!(self.ticks % 100 != 0, \"nobody thought of the hundredth price\");",
);

/// The copy, and the folder into which its builds are published.
pub struct Workshop {
    source: PathBuf,
    build: PluginBuild,
    folder: PathBuf,
    root: PathBuf,
    _alone: File,
}

/// The bytes of a finished library. They are copied, because cargo overwrites the file with the next one.
pub struct Build {
    /// The library.
    pub bytes: Vec<u8>,
    /// The build time.
    pub took: Duration,
    file: PathBuf,
}

impl Workshop {
    /// Makes the workspace again from the repository.
    ///
    /// # Errors
    /// If the copy cannot be made; the error says of which file.
    pub fn open(repository: &Workspace, name: &str, profile: Profile) -> anyhow::Result<Self> {
        let place = repository.target.join("reslot").join(name);
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        let alone = lock(&place.join("lock"))?;

        let folder = place.join("plugins");
        clear(&folder)?;
        let root = place.join("workspace");
        clear(&root)?;
        let copy = root.join("plugins").join(PLUGIN);
        copy_folder(&repository.root.join("plugins").join(PLUGIN), &copy)?;
        rename_library(&copy.join("Cargo.toml"))?;
        fs::write(root.join("Cargo.toml"), manifest(&repository.root)?)?;
        fs::copy(repository.root.join("Cargo.lock"), root.join("Cargo.lock"))?;
        let configuration = Table::from_iter([(
            "build".to_owned(),
            Value::Table(Table::from_iter([("target-dir".to_owned(), text(&repository.target)?)])),
        )]);
        fs::create_dir_all(root.join(".cargo"))?;
        fs::write(root.join(".cargo").join("config.toml"), configuration.to_string())?;

        let workspace = Workspace::read(&root)?;
        Ok(Self {
            source: copy.join("src").join("lib.rs"),
            build: PluginBuild::new(&workspace, workspace.plugin(PLUGIN)?, profile).quiet(),
            folder,
            root,
            _alone: alone,
        })
    }

    /// The folder that a host watches.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The copied source.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The copy's workspace.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes another number into the source, as an author would who changes a constant and saves.
    ///
    /// # Errors
    /// If the source cannot be read or written.
    pub fn set_edition(&self, edition: u32) -> anyhow::Result<()> {
        let source = fs::read_to_string(&self.source)?;
        let lines = source.lines().map(|line| match line.starts_with("const EDITION") {
            true => format!("const EDITION: u32 = {edition};\n"),
            false => format!("{line}\n"),
        });
        Ok(fs::write(&self.source, lines.collect::<String>())?)
    }

    /// Builds the copy as it is now.
    ///
    /// # Errors
    /// If it does not build; cargo's messages are printed as well.
    pub fn build(&self) -> anyhow::Result<Build> {
        let built = self.build.build()?;
        let file = built.library.file_name().context("a library has a name")?;
        Ok(Build {
            bytes: fs::read(&built.library).with_context(|| format!("cannot read {}", built.library.display()))?,
            took: built.built_in,
            file: self.folder.join(file),
        })
    }

    /// Changes the copy's source, and returns the change as a diff.
    ///
    /// # Errors
    /// If the source does not have the expected lines.
    pub fn edit(&self) -> anyhow::Result<Vec<String>> {
        self.replace(&EDIT)
    }

    /// The same with a mistake.
    ///
    /// # Errors
    /// If the source does not have the expected lines.
    pub fn make_a_mistake(&self) -> anyhow::Result<Vec<String>> {
        self.replace(&[MISTAKE])
    }

    fn replace(&self, edit: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
        let mut source = fs::read_to_string(&self.source)?;
        let mut diff = Vec::new();
        for (old, new) in edit {
            ensure!(
                source.matches(old).count() == 1,
                "plugins/{PLUGIN}/src/lib.rs has no line `{old}`, which the demo changes; put it back, or change EDIT in {}",
                file!()
            );
            source = source.replace(old, new);
            let added = new.strip_prefix(old);
            if added.is_none() {
                diff.push(bad(format!("- {old}")).to_string());
            }
            let new = added.unwrap_or(new).trim_start_matches('\n');
            diff.push(good(format!("+ {new}")).to_string());
        }
        fs::write(&self.source, source)?;
        Ok(diff)
    }
}

impl Build {
    /// Publishes the library in one step, and returns the time right before that step.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn publish(&self) -> anyhow::Result<Instant> {
        let complain = || format!("cannot publish {}", self.file.display());
        let folder = self.file.parent().with_context(complain)?;
        let hidden = folder.join(format!(".{PLUGIN}.tmp"));
        fs::write(&hidden, &self.bytes).with_context(complain)?;
        let renamed = Instant::now();
        fs::rename(&hidden, &self.file).with_context(complain)?;
        Ok(renamed)
    }
}

/// Locks the workspace until the file is dropped or the process ends.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            anstream::println!(
                "{}",
                dim("Another demo runs in this repository; waiting for its end (Ctrl-C gives up).")
            );
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", path.display()),
    }
    Ok(file)
}

fn clear(folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            // `fs::copy` would keep permissions, but the copy is edited.
            fs::write(target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// The plugin and its copy are built in the same target folder, so the library needs another name.
fn rename_library(file: &Path) -> anyhow::Result<()> {
    let mut manifest: Table = fs::read_to_string(file)?.parse()?;
    table(&mut manifest, "lib")?.insert("name".to_owned(), format!("demo_{PLUGIN}").into());
    Ok(fs::write(file, manifest.to_string())?)
}

/// The repository's manifest with the copy as the only member, and with absolute paths.
fn manifest(root: &Path) -> anyhow::Result<String> {
    let mut manifest: Table = fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    let workspace = table(&mut manifest, "workspace")?;
    workspace.insert("members".to_owned(), vec!["plugins/*"].into());
    workspace.remove("exclude");
    for (_, dependency) in table(workspace, "dependencies")? {
        if let Some(path) = dependency.get_mut("path") {
            let relative = path.as_str().context("a path is a text")?;
            *path = text(&root.join(relative))?;
        }
    }
    let lock = fs::read_to_string(root.join("Cargo.lock"))?;
    keep_profiles_of(&mut manifest, &lock, &[PLUGIN]);
    Ok(manifest.to_string())
}

fn table<'a>(of: &'a mut Table, key: &str) -> anyhow::Result<&'a mut Table> {
    of.get_mut(key)
        .and_then(Value::as_table_mut)
        .with_context(|| format!("a Cargo.toml of the repository has no [{key}]"))
}

fn text(path: &Path) -> anyhow::Result<Value> {
    let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(Value::from(path))
}
