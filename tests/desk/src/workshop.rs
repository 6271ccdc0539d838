//! Where the desk's builds are made: copies of its plugins in a workspace of their own, each with the lines changed that an author would
//! change, all built by one call of cargo into the repository's target folder.

use anyhow::{Context, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use toml::{Table, Value};

/// A plugin as it is, or with lines changed.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// What it is called here.
    pub name: &'static str,
    /// The package in plugins/.
    pub of: &'static str,
    /// What is replaced by what; each stands there once.
    pub edits: &'static [(&'static str, &'static str)],
}

const fn maker(name: &'static str, edits: &'static [(&'static str, &'static str)]) -> Variant {
    Variant {
        name,
        of: "desk-maker",
        edits,
    }
}

const SECOND: (&str, &str) = ("EDITION: u32 = 1", "EDITION: u32 = 2");

/// What the story and the tests need.
pub const VARIANTS: &[Variant] = &[
    maker("maker", &[]),
    maker("maker-wider", &[("EDGE: u64 = 0", "EDGE: u64 = 1"), SECOND]),
    maker(
        "maker-counts",
        &[
            (
                "    sells: Resting,\n}",
                "    sells: Resting,\n    #[serde(default)]\n    quotes: u32,\n}",
            ),
            (
                "        self.take_in(event);",
                "        self.take_in(event);\n        self.quotes += 1;",
            ),
            ("edition: EDITION", "edition: 1_000 + self.quotes"),
        ],
    ),
    maker(
        "maker-forgets-its-orders",
        &[("own.order == 0", "own.order < u64::MAX"), SECOND],
    ),
    maker(
        "maker-panics-after-two",
        &[
            (
                "        self.take_in(event);",
                "        self.take_in(event);
        if event.what == What::Quote && self.events > 50 {
            intents.place(Side::Buy, event.bid, 1);
            intents.place(Side::Buy, event.bid, 1);
            assert!(self.events < 50, \"nobody thought of the fifty-first event\");
            intents.place(Side::Sell, event.ask, 2);
        }",
            ),
            SECOND,
        ],
    ),
    maker(
        "maker-other-position",
        &[
            (
                "struct Position {\n    lots: i64,\n}",
                "struct Position {\n    lots: i64,\n    entry_price: u64,\n}",
            ),
            SECOND,
        ],
    ),
    Variant {
        name: "momentum",
        of: "desk-momentum",
        edits: &[],
    },
    Variant {
        name: "momentum-bolder",
        of: "desk-momentum",
        // Not the line that whoever plays with the live demo changes first.
        edits: &[
            ("self.average + THRESHOLD ", "self.average + THRESHOLD / 2.0 "),
            ("self.average - THRESHOLD ", "self.average - THRESHOLD / 2.0 "),
            SECOND,
        ],
    },
    Variant {
        name: "risk",
        of: "desk-risk",
        edits: &[],
    },
    Variant {
        name: "risk-stricter",
        of: "desk-risk",
        edits: &[("MOST: u64 = 250", "MOST: u64 = 220")],
    },
];

/// The built libraries, in a folder that goes with this.
pub struct Builds(TempDir);

impl Builds {
    /// Builds all [`VARIANTS`], with the profile of the program that asks.
    ///
    /// # Errors
    /// If a source is not what it was, or does not build.
    pub fn make() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("a repository")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        // The same place each time, so that cargo finds again what it has built; whoever comes second waits.
        let place = target.join("reslot").join("desk");
        fs::create_dir_all(&place)?;
        let lock = fs::File::create(place.join("lock"))?;
        lock.lock()?;
        write_if_other(&place.join("Cargo.toml"), &manifest(root)?)?;
        fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock"))?;
        for variant in VARIANTS {
            write_variant(root, &place, variant)?;
        }
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&place).env("CARGO_TARGET_DIR", &target);
        cargo.args(["build", "--workspace", "--offline", "--quiet", "--profile", profile]);
        let answer = cargo.output().context("cannot start cargo")?;
        ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let built = target.join(if cfg!(debug_assertions) { "debug" } else { "release" });
        let builds = Self(tempfile::Builder::new().prefix("desk-builds-").tempdir()?);
        for variant in VARIANTS {
            fs::copy(
                built.join(format!("libdesk_{}.so", variant.name.replace('-', "_"))),
                builds.path(variant.name),
            )?;
        }
        // The same build under another hash: nothing that is loaded of a library lies behind its end.
        let mut twin = fs::read(builds.path("maker"))?;
        twin.extend_from_slice(b"the second of two");
        fs::write(builds.path("maker-twin"), &twin)?;
        fs::write(builds.path("maker-half"), &twin[..twin.len() / 2])?;
        Ok(builds)
    }

    /// One of them; besides the variants there are `maker-twin`, the same build again, and `maker-half`, which somebody did not finish.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("lib{name}.so"))
    }
}

fn write_variant(root: &Path, place: &Path, variant: &Variant) -> anyhow::Result<()> {
    let (from, to) = (root.join("plugins").join(variant.of), place.join(variant.name));
    fs::create_dir_all(to.join("src"))?;
    let mut source = fs::read_to_string(from.join("src/lib.rs"))?;
    for (old, new) in variant.edits {
        ensure!(
            source.matches(old).count() == 1,
            "plugins/{0}/src/lib.rs has not one {old:?}, of which the story's builds are made; `git checkout plugins/{0}` brings it back",
            variant.of
        );
        source = source.replace(old, new);
    }
    write_if_other(&to.join("src/lib.rs"), &source)?;
    let manifest = fs::read_to_string(from.join("Cargo.toml"))?;
    let own = format!("name = \"desk_{}\"", variant.name);
    write_if_other(
        &to.join("Cargo.toml"),
        &manifest.replacen(&format!("name = \"{}\"", variant.of), &own, 1),
    )
}

/// The repository's manifest with the variants as members, and every path in it made absolute.
fn manifest(root: &Path) -> anyhow::Result<String> {
    let mut manifest: Table = fs::read_to_string(root.join("Cargo.toml"))?.parse()?;
    let workspace = manifest
        .get_mut("workspace")
        .and_then(Value::as_table_mut)
        .context("[workspace]")?;
    let members: Vec<Value> = VARIANTS.iter().map(|variant| Value::from(variant.name)).collect();
    workspace.insert("members".to_owned(), Value::Array(members));
    workspace.remove("exclude");
    let dependencies = workspace.get_mut("dependencies").and_then(Value::as_table_mut);
    for (_, dependency) in dependencies.context("[workspace.dependencies]")? {
        if let Some(path) = dependency.get_mut("path") {
            *path = Value::from(root.join(path.as_str().context("a path")?).display().to_string());
        }
    }
    if let Some(profiles) = manifest
        .get_mut("profile")
        .and_then(|profile| profile.get_mut("dev"))
        .and_then(Value::as_table_mut)
    {
        // Not every package that has settings there is one of these.
        if let Some(packages) = profiles.get_mut("package").and_then(Value::as_table_mut) {
            packages.retain(|name, _| name == "*");
        }
    }
    Ok(manifest.to_string())
}

/// Cargo looks at the time of writing.
fn write_if_other(path: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
