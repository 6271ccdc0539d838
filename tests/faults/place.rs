//! The folders of one run, and what a process needs to know of it.

use super::child::Report;
use reslot::{ContentHash, Policy, Preflight};
use reslot_tests::{Fixture, preflight_program};
use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How the host of a run keeps its copies, and how its slot is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// Copies in files, a history on disk, two threads that call.
    Plain,
    /// Copies in memory, and a history that ends with the process.
    Memory,
    /// The slot is claimed, and its owner adopts the build.
    Claim,
    /// The build is tried out in a child process before.
    Preflight,
}

impl Variant {
    pub const ALL: [Self; 4] = [Self::Plain, Self::Memory, Self::Claim, Self::Preflight];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Memory => "memory",
            Self::Claim => "claim",
            Self::Preflight => "preflight",
        }
    }

    /// The name of the slot, and of the plugin in it.
    pub fn slot(self) -> &'static str {
        match self {
            Self::Claim => "counter",
            Self::Plain | Self::Memory | Self::Preflight => "shared-counter",
        }
    }

    pub fn package(self) -> &'static str {
        match self {
            Self::Claim => "fx-counter",
            Self::Plain | Self::Memory | Self::Preflight => "fx-shared-counter",
        }
    }
}

const VARIANT: &str = "RESLOT_FAULTS_VARIANT";
const FOLDER: &str = "RESLOT_FAULTS_FOLDER";
const DEADLINES: &str = "RESLOT_FAULTS_DEADLINES_MS";
const BUILDS: &str = "RESLOT_FAULTS_BUILDS";
const PREFLIGHT: &str = "RESLOT_FAULTS_PREFLIGHT";

/// The builds that all runs of a variant share: `1.so`, `2.so`, `3.so`, and the file `2.hash` for each.
#[derive(Debug, Clone)]
pub struct Builds {
    folder: PathBuf,
    preflight: PathBuf,
}

impl Builds {
    /// Builds the variant's plugin, and stamps it.
    pub fn make(folder: PathBuf, variant: Variant) -> Self {
        fs::create_dir_all(&folder).expect("a temporary folder is writable");
        let mut fixture = Fixture::build(variant.package());
        for stamp in 1..=3 {
            fixture.stamp(stamp);
            fs::write(folder.join(format!("{stamp}.so")), fixture.bytes()).expect("a temporary folder is writable");
            let hash = ContentHash::of(fixture.bytes()).to_string();
            fs::write(folder.join(format!("{stamp}.hash")), hash).expect("a temporary folder is writable");
        }
        let preflight = match variant {
            Variant::Preflight => preflight_program().to_owned(),
            Variant::Plain | Variant::Memory | Variant::Claim => PathBuf::new(),
        };
        Self { folder, preflight }
    }

    /// The hash of the build with this stamp.
    pub fn hash(&self, stamp: u64) -> String {
        fs::read_to_string(self.folder.join(format!("{stamp}.hash"))).expect("it was written")
    }
}

/// Held while a process is started, and while a build is published: a process that is just being started has the published file open for
/// writing, too, until it becomes another program.
pub static STARTING: Mutex<()> = Mutex::new(());

/// The folders of one run.
#[derive(Debug, Clone)]
pub struct Place {
    pub folder: PathBuf,
    pub builds: Builds,
    pub variant: Variant,
    /// Each deadline of the policy, if other than the defaults.
    pub deadlines: Option<Duration>,
}

impl Place {
    /// The place of this process, if it is a child.
    pub fn of_environment() -> Option<Self> {
        let (folder, variant) = (env::var_os(FOLDER)?, env::var(VARIANT).ok()?);
        let deadlines = env::var(DEADLINES).ok();
        let builds = Builds {
            folder: env::var_os(BUILDS)?.into(),
            preflight: env::var_os(PREFLIGHT)?.into(),
        };
        Some(Self {
            folder: folder.into(),
            builds,
            variant: Variant::ALL.into_iter().find(|known| known.name() == variant)?,
            deadlines: deadlines.map(|ms| Duration::from_millis(ms.parse().expect("a number"))),
        })
    }

    /// Makes the folders, with the first build in place.
    pub fn make(folder: &Path, builds: &Builds, variant: Variant, deadlines: Option<Duration>) -> Self {
        let place = Self {
            folder: folder.to_owned(),
            builds: builds.clone(),
            variant,
            deadlines,
        };
        for folder in [place.artifacts(), place.private(), place.history()] {
            fs::create_dir_all(folder).expect("a temporary folder is writable");
        }
        place.publish(1);
        place
    }

    pub fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let mut all = vec![
            (FOLDER, self.folder.clone().into_os_string()),
            (VARIANT, self.variant.name().into()),
            (BUILDS, self.builds.folder.clone().into_os_string()),
            (PREFLIGHT, self.builds.preflight.clone().into_os_string()),
        ];
        all.extend(self.deadlines.map(|all| (DEADLINES, all.as_millis().to_string().into())));
        all
    }

    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    pub fn private(&self) -> PathBuf {
        self.folder.join("private")
    }

    pub fn history(&self) -> PathBuf {
        self.folder.join("history")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// Publishes the build with this stamp, as `build-plugin` does.
    pub fn publish(&self, stamp: u64) {
        let _no_start = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let (new, file) = (self.artifacts().join(".new"), self.artifacts().join("libplugin.so"));
        fs::copy(self.builds.folder.join(format!("{stamp}.so")), &new).expect("the folder is writable");
        fs::rename(&new, file).expect("the folder is writable");
    }

    /// The stamp of the build that is published.
    pub fn published(&self) -> u64 {
        let bytes = fs::read(self.artifacts().join("libplugin.so")).unwrap_or_default();
        let hash = ContentHash::of(&bytes).to_string();
        (1..=3).find(|stamp| self.builds.hash(*stamp) == hash).unwrap_or_default()
    }

    pub fn write_report(&self, name: &str, report: &Report) {
        let text = serde_json::to_string(report).expect("it is plain data");
        fs::write(self.folder.join(name), text).expect("the folder is writable");
    }

    pub fn report(&self, name: &str) -> Option<Report> {
        let text = fs::read_to_string(self.folder.join(name)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// A probation that ends only when it is confirmed.
    pub fn policy(&self) -> Policy {
        let mut policy = Policy::development().probation(Duration::from_secs(3600));
        let mut preflight = Preflight {
            program: Some(self.builds.preflight.clone()),
            ..Preflight::default()
        };
        if let Some(deadline) = self.deadlines {
            policy = policy
                .hook_deadline(deadline)
                .health_timeout(deadline)
                .call_deadline(deadline);
            policy = policy.health_every(deadline / 4);
            preflight.timeout = deadline;
        }
        match self.variant {
            Variant::Preflight => policy.preflight(preflight),
            Variant::Plain | Variant::Memory | Variant::Claim => policy,
        }
    }
}
