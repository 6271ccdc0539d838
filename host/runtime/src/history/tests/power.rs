//! The folder after a power cut, at every step of what a host does with it. The steps are recorded (`files.rs`); for each
//! number of them a folder is made as a disk could have it: with all that was synced, and with any part of the rest.
//! A process that is killed, and goes on in another one, may precede the cut.
//!
//! What must hold: the history opens without a complaint, every version in it is whole, and the list is the one before or
//! the one after the change that was going on. So no version is confirmed that was not, and none is lost that was.
//! A failure writes its seed to `proptest-regressions/`, which is committed.

use super::{super::files, *};
use files::Step;
use proptest::prelude::*;

/// Two slots, one with a name that its folder cannot have.
const SLOTS: [&str; 2] = ["counter", "../odd name"];
const CONTENTS: [&[u8]; 4] = [b"one", b"the second", b"3", b"a fourth one"];

/// What a host does with its history.
#[derive(Debug, Clone, Copy)]
enum Act {
    Begin(usize, usize),
    Confirm(usize, usize),
    MarkBad(usize, usize),
    Forget(usize, usize),
    Unblock(usize, usize),
    /// The process ends, and another one opens the history.
    Reopen,
    /// The process is killed after this many of its steps, and another one opens the history.
    Kill(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let both = || (0..SLOTS.len(), 0..CONTENTS.len());
    let act = prop_oneof![
        6 => both().prop_map(|(slot, of)| Act::Begin(slot, of)),
        4 => both().prop_map(|(slot, of)| Act::Confirm(slot, of)),
        2 => both().prop_map(|(slot, of)| Act::MarkBad(slot, of)),
        2 => both().prop_map(|(slot, of)| Act::Forget(slot, of)),
        1 => both().prop_map(|(slot, of)| Act::Unblock(slot, of)),
        1 => Just(Act::Reopen),
        1 => (0usize..20).prop_map(Act::Kill),
    ];
    prop::collection::vec(act, 1..9)
}

/// The list of a history: what a host would go by.
type List = Vec<(String, ContentHash, &'static str)>;

fn list(history: &History) -> List {
    let slots = history.slots().into_iter();
    slots
        .flat_map(|slot| {
            let entries = history.entries(&slot).into_iter();
            entries.map(move |entry| (slot.clone(), entry.hash, entry.condition.name()))
        })
        .collect()
}

/// Does one act of a living history.
fn act(history: &History, act: Act) {
    let hash = |of: usize| ContentHash::of(CONTENTS[of]);
    // Some have no effect, such as to confirm what was never begun.
    let _ = match act {
        Act::Begin(slot, of) => begins(history, SLOTS[slot], CONTENTS[of]).map(drop),
        Act::Confirm(slot, of) => history.confirm(SLOTS[slot], &hash(of)),
        Act::MarkBad(slot, of) => history.mark_bad(SLOTS[slot], &hash(of), "it panicked"),
        Act::Forget(slot, of) => {
            history.forget(SLOTS[slot], &hash(of));
            Ok(())
        }
        Act::Unblock(slot, of) => history.unblock(SLOTS[slot], &hash(of)),
        Act::Reopen | Act::Kill(_) => Ok(()),
    };
}

/// The steps of a host since the disk was made, and which lists are allowed after each number of them.
#[derive(Default)]
struct Story {
    steps: Vec<Step>,
    /// From this number of steps on, the list may be the earlier one or the later one.
    lists: Vec<(usize, List, List)>,
}

impl Story {
    /// What the list may be after this many steps.
    fn allowed(&self, steps: usize) -> Vec<&List> {
        let begun = self.lists.iter().filter(|(from, ..)| *from <= steps);
        let last = begun.clone().map(|(from, ..)| *from).max();
        // Several changes without a step begin at the same number.
        let now = begun.filter(|(from, ..)| Some(*from) == last);
        now.flat_map(|(_, before, after)| [before, after]).collect()
    }
}

/// Plays the acts in a folder, and writes down the steps with paths below the base.
fn play(acts: &[Act], keep: usize) -> Story {
    let mut story = Story::default();
    let mut base = tempfile::tempdir_in(fast()).unwrap();
    let open = |base: &Path| {
        let (history, problems) = History::persistent(&base.join("made/history"), keep).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        history
    };
    let note = |story: &mut Story, base: &Path, steps: Vec<Step>| {
        let outside = Step::SyncFolder(base.parent().unwrap().to_owned());
        let steps = steps.into_iter().filter(|step| *step != outside);
        story.steps.extend(steps.map(|step| relative(step, base)));
    };
    let (mut history, steps) = files::record(|| open(base.path()));
    let mut before = list(&history);
    story.lists.push((0, before.clone(), before.clone()));
    note(&mut story, base.path(), steps);
    for one in acts {
        let from = story.steps.len();
        match *one {
            Act::Reopen => {
                drop(history);
                let (again, steps) = files::record(|| open(base.path()));
                history = again;
                note(&mut story, base.path(), steps);
            }
            Act::Kill(back) => {
                drop(history);
                // The kernel goes on and has all that was done until then, synced or not.
                let done = story.steps.len().saturating_sub(back);
                story.steps.truncate(done);
                let allowed: Vec<List> = story.allowed(done).into_iter().cloned().collect();
                story.lists.retain(|(from, ..)| *from <= done);
                base = tempfile::tempdir_in(fast()).unwrap();
                Disk::after(&story.steps, &mut |_| Kept::Whole).write(base.path());
                let (again, steps) = files::record(|| open(base.path()));
                history = again;
                let now = list(&history);
                assert!(allowed.contains(&now), "after a kill there is {now:?}");
                let earlier = allowed.into_iter().find(|list| *list != now).unwrap_or_else(|| now.clone());
                story.lists.push((done, earlier, now.clone()));
                note(&mut story, base.path(), steps);
                // What the next process has read is what it goes by: it need not be on the disk yet.
                before = now;
                continue;
            }
            other => {
                let ((), steps) = files::record(|| act(&history, other));
                note(&mut story, base.path(), steps);
            }
        }
        let after = list(&history);
        story.lists.push((from, before, after.clone()));
        let end = story.steps.len();
        if end > from {
            // The call has returned: what it promised holds from here on.
            story.lists.push((end, after.clone(), after.clone()));
        }
        before = after;
    }
    story
}

/// Where a sync costs nothing.
fn fast() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

fn relative(step: Step, base: &Path) -> Step {
    let below = |path: PathBuf| path.strip_prefix(base).unwrap().to_owned();
    match step {
        Step::MakeFolder(path) => Step::MakeFolder(below(path)),
        Step::RemoveFolder(path) => Step::RemoveFolder(below(path)),
        Step::Create(path) => Step::Create(below(path)),
        Step::Write(path, bytes) => Step::Write(below(path), bytes),
        Step::SyncFile(path) => Step::SyncFile(below(path)),
        Step::Rename(from, to) => Step::Rename(below(from), below(to)),
        Step::Remove(path) => Step::Remove(below(path)),
        Step::SyncFolder(path) => Step::SyncFolder(below(path)),
    }
}

/// What becomes of a step that was not synced.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kept {
    Whole,
    Lost,
    /// Of what was written: the first half.
    Torn,
    /// Of what was written: its length, and zeros.
    Zeros,
}

/// What lies on a disk, by the numbers of folders and files.
#[derive(Default)]
struct Disk {
    /// The names in each folder; folder 0 is the base.
    folders: Vec<BTreeMap<PathBuf, Node>>,
    files: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Node {
    Folder(usize),
    File(usize),
}

impl Disk {
    fn empty() -> Self {
        Self {
            folders: vec![BTreeMap::new()],
            files: Vec::new(),
        }
    }

    fn find(&self, path: &Path) -> Option<Node> {
        let mut at = Node::Folder(0);
        for part in path {
            let Node::Folder(folder) = at else { return None };
            at = *self.folders[folder].get(Path::new(part))?;
        }
        Some(at)
    }

    fn folder_of(&self, path: &Path) -> (usize, PathBuf) {
        let Some(Node::Folder(folder)) = self.find(path.parent().unwrap()) else {
            panic!("{path:?} has no folder")
        };
        (folder, path.file_name().unwrap().into())
    }

    /// The disk after these steps and a power cut. `fate` says what becomes of each step that was not synced.
    fn after(steps: &[Step], fate: &mut dyn FnMut(&Step) -> Kept) -> Self {
        // First as the kernel has it: that tells which file and which folder each step is about.
        let mut seen = Self::empty();
        let mut changes = Vec::new();
        for step in steps {
            let change = seen.change(step);
            seen.apply(&change);
            changes.push(change);
        }
        let mut disk = Self {
            folders: vec![BTreeMap::new(); seen.folders.len()],
            files: vec![Vec::new(); seen.files.len()],
        };
        for (at, (step, change)) in steps.iter().zip(&changes).enumerate() {
            let is_synced = changes[at..].iter().any(|later| match (change, later) {
                (Change::Name { folder, .. }, Change::SyncFolder(synced)) => folder == synced,
                (Change::Content { file, .. }, Change::SyncFile(synced)) => file == synced,
                _ => false,
            });
            match (change, if is_synced { Kept::Whole } else { fate(step) }) {
                (Change::Content { file, bytes }, kept) => {
                    disk.files[*file] = match kept {
                        Kept::Whole => bytes.clone(),
                        Kept::Lost => Vec::new(),
                        Kept::Torn => bytes[..bytes.len() / 2].to_owned(),
                        Kept::Zeros => vec![0; bytes.len()],
                    };
                }
                (_, Kept::Lost) => {}
                (change, _) => disk.apply(change),
            }
        }
        disk
    }

    /// What a step changes, by numbers.
    fn change(&mut self, step: &Step) -> Change {
        let name = |path: &Path, before: Option<PathBuf>, node: Option<Node>| {
            let (folder, name) = self.folder_of(path);
            Change::Name {
                folder,
                before,
                name,
                node,
            }
        };
        match step {
            Step::MakeFolder(path) => {
                let new = Node::Folder(self.folders.len());
                let change = name(path, None, Some(new));
                self.folders.push(BTreeMap::new());
                change
            }
            Step::Create(path) => {
                let new = Node::File(self.files.len());
                let change = name(path, None, Some(new));
                self.files.push(Vec::new());
                change
            }
            Step::RemoveFolder(path) | Step::Remove(path) => name(path, None, None),
            Step::Rename(from, to) => {
                let node = self.find(from);
                assert_eq!(from.parent(), to.parent());
                let (folder, name) = self.folder_of(to);
                let before = from.file_name().map(PathBuf::from);
                Change::Name {
                    folder,
                    before,
                    name,
                    node,
                }
            }
            Step::Write(path, bytes) => {
                let Some(Node::File(file)) = self.find(path) else {
                    panic!("{path:?}")
                };
                let bytes = bytes.clone();
                Change::Content { file, bytes }
            }
            Step::SyncFile(path) => {
                let Some(Node::File(file)) = self.find(path) else {
                    panic!("{path:?}")
                };
                Change::SyncFile(file)
            }
            Step::SyncFolder(path) => match self.find(path) {
                Some(Node::Folder(folder)) => Change::SyncFolder(folder),
                _ => panic!("{path:?}"),
            },
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Name {
                folder,
                before,
                name,
                node,
            } => {
                let names = &mut self.folders[*folder];
                if let Some(before) = before {
                    names.remove(before);
                }
                match node {
                    Some(node) => drop(names.insert(name.clone(), *node)),
                    None => drop(names.remove(name)),
                }
            }
            Change::Content { file, bytes } => self.files[*file].clone_from(bytes),
            Change::SyncFile(_) | Change::SyncFolder(_) => {}
        }
    }

    fn write(&self, into: &Path) {
        self.write_folder(0, into);
    }

    fn write_folder(&self, folder: usize, into: &Path) {
        for (name, node) in &self.folders[folder] {
            let path = into.join(name);
            match node {
                Node::File(file) => fs::write(path, &self.files[*file]).unwrap(),
                Node::Folder(inside) => {
                    fs::create_dir(&path).unwrap();
                    self.write_folder(*inside, &path);
                }
            }
        }
    }
}

/// A step, by the numbers of what it is about.
enum Change {
    Name {
        folder: usize,
        /// The name that is gone at the same moment.
        before: Option<PathBuf>,
        name: PathBuf,
        node: Option<Node>,
    },
    Content {
        file: usize,
        bytes: Vec<u8>,
    },
    SyncFile(usize),
    SyncFolder(usize),
}

/// Opens what the disk has after a cut, and looks for what must hold. The error says what does not.
fn look(disk: &Disk, allowed: &[&List], keep: usize) -> Result<(), String> {
    let base = tempfile::tempdir_in(fast()).unwrap();
    disk.write(base.path());
    let folder = base.path().join("made/history");
    let opened = History::persistent(&folder, keep).map_err(|error| format!("it does not open: {error}"))?;
    let (history, problems) = opened;
    if !problems.is_empty() {
        return Err(format!("it complains: {problems:?}"));
    }
    let found = list(&history);
    if !allowed.contains(&&found) {
        return Err(format!("the list is {found:?}, allowed is {allowed:?}"));
    }
    let mut whole = Vec::new();
    for (slot, hash, condition) in &found {
        if *condition == "known_bad" {
            continue;
        }
        let artifact = history
            .read(slot, hash)
            .map_err(|error| format!("a version is not whole: {error}"))?;
        if ContentHash::of(&artifact.bytes) != *hash {
            return Err(format!("{hash} has other bytes"));
        }
        whole.push(artifact.bytes);
    }
    // Nothing is left over but what the list needs.
    let mut left = artifacts_below(&folder);
    whole.sort();
    left.sort();
    if left != whole {
        return Err(format!("in the folder is {left:?}, needed is {whole:?}"));
    }
    // It can go on.
    let hash = begins(&history, SLOTS[0], b"the next").map_err(|error| format!("it does not go on: {error}"))?;
    history
        .confirm(SLOTS[0], &hash)
        .map_err(|error| format!("it does not go on: {error}"))?;
    drop(history);
    let (history, problems) = History::persistent(&folder, keep).map_err(|error| error.to_string())?;
    let newest = history.entries(SLOTS[0])[0].clone();
    match problems.is_empty() && newest.hash == hash && newest.condition == Confirmed {
        true => Ok(()),
        false => Err(format!("what it went on with is lost: {newest:?}, {problems:?}")),
    }
}

fn artifacts_below(folder: &Path) -> Vec<Vec<u8>> {
    let found = files(folder).into_iter();
    let artifacts = found.filter(|(name, _)| name.file_name().unwrap() != "index.json");
    artifacts.map(|(_, bytes)| bytes).collect()
}

/// A few numbers from a seed, so that a failure is found again.
fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

proptest! {
    #![proptest_config(ProptestConfig { cases: (ProptestConfig::default().cases / 6).max(1), ..ProptestConfig::default() })]

    #[test]
    fn after_a_power_cut_at_any_step_the_history_is_whole(acts in acts(), keep in 1usize..3, seed: u64) {
        let story = play(&acts, keep);
        let mut seed = seed;
        for cut in 0..=story.steps.len() {
            let (steps, allowed) = (&story.steps[..cut], story.allowed(cut));
            for disk in 0..6 {
                let mut lost = Vec::new();
                let disk = Disk::after(steps, &mut |step| {
                    let kept = match (disk, next(&mut seed) % 4) {
                        (0, _) | (2.., 0) => Kept::Whole,
                        (1, _) | (2.., 1) => Kept::Lost,
                        (_, 2) => Kept::Torn,
                        _ => Kept::Zeros,
                    };
                    if kept != Kept::Whole && !matches!(step, Step::SyncFile(_) | Step::SyncFolder(_)) {
                        lost.push((kept, step.clone()));
                    }
                    kept
                });
                if let Err(why) = look(&disk, &allowed, keep) {
                    prop_assert!(false, "after {} of {} steps: {}\nnot on the disk: {:?}\nthe steps: {:?}",
                        cut, story.steps.len(), why, lost, steps);
                }
            }
        }
    }
}
