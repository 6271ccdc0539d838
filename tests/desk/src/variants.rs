//! The builds that the story and the tests exchange: the desk's plugins with a few lines changed, as an author would change
//! them.

use anyhow::Context;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use xtask::{Profile, Variant, Workspace, build_variants};

const fn of(package: &'static str, name: &'static str, edits: &'static [(&'static str, &'static str)]) -> Variant {
    Variant {
        name,
        of: package,
        edits,
    }
}

const SECOND: (&str, &str) = ("EDITION: u32 = 1", "EDITION: u32 = 2");

pub(crate) const VARIANTS: [Variant; 12] = [
    of("desk-maker", "maker", &[]),
    of("desk-maker", "maker-wider", &[("EDGE: u64 = 0", "EDGE: u64 = 1"), SECOND]),
    of(
        "desk-maker",
        "maker-counts",
        &[
            (
                "sells: Resting,\n}",
                "sells: Resting,\n    #[serde(default)]\n    quotes: u32,\n}",
            ),
            (
                "        self.take_in(event);",
                "        self.take_in(event);\n        self.quotes += 1;",
            ),
            ("edition: EDITION", "edition: 1_000 + self.quotes"),
        ],
    ),
    of(
        "desk-maker",
        "maker-crosses",
        &[("event.bid - EDGE", "event.ask"), ("event.ask + EDGE", "event.bid"), SECOND],
    ),
    of(
        "desk-maker",
        "maker-forgets-its-orders",
        &[("own.order == 0", "own.order < u64::MAX"), SECOND],
    ),
    of(
        "desk-maker",
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
    of(
        "desk-maker",
        "maker-other-position",
        &[("    lots: i64,\n}", "    lots: i64,\n    entry_price: u64,\n}"), SECOND],
    ),
    of("desk-momentum", "momentum", &[]),
    of(
        "desk-momentum",
        "momentum-bolder",
        // This is not the line that a user of the live demo is likely to change first.
        &[
            ("self.average + THRESHOLD ", "self.average + THRESHOLD / 2.0 "),
            ("self.average - THRESHOLD ", "self.average - THRESHOLD / 2.0 "),
            SECOND,
        ],
    ),
    of(
        "desk-momentum",
        "momentum-does-not-come-back",
        &[("        let mid = ", "        while event.number > 0 {}\n        let mid = ")],
    ),
    of("desk-risk", "risk", &[]),
    of("desk-risk", "risk-stricter", &[("MOST: u64 = 250", "MOST: u64 = 220")]),
];

/// The built libraries, in a temporary folder that is deleted with this value.
pub struct Builds(TempDir);

impl Builds {
    /// Builds them all.
    ///
    /// # Errors
    /// If a line to replace is missing from a source, or the source does not build.
    pub fn make() -> anyhow::Result<Self> {
        let workspace = Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR")))?;
        let builds = Self(tempfile::Builder::new().prefix("desk-builds-").tempdir()?);
        build_variants(&workspace, "desk", &VARIANTS, Profile::of_this_program(), builds.0.path())?;
        // Extra bytes at the end give the same build another hash; the loader ignores them.
        let mut twin = fs::read(builds.path("maker")).context("the maker's library")?;
        twin.extend_from_slice(b"the second of two");
        fs::write(builds.path("maker-twin"), &twin)?;
        fs::write(builds.path("maker-half"), &twin[..twin.len() / 2])?;
        Ok(builds)
    }

    /// The path of one build. Besides the variants there are `maker-twin`, the same build with another hash, and
    /// `maker-half`, a truncated file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(format!("lib{name}.so"))
    }
}
