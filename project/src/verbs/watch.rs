//! The verb `build-plugin --watch`: builds and publishes again at each save of a plugin's source.
//!
//! A save causes several events within a few milliseconds. The verb collects them, and then the content decides
//! ([`sources`](super::sources)). The last event of a file, when it is closed or renamed into place, says that the file is
//! complete; then the verb waits only a moment for other files of the same save. Saves during a build wait in the channel
//! and are processed right after it, so no save is lost, and no save causes two builds. The verb notices a changed
//! `Cargo.toml` of a package. For a new plugin, or a change of the workspace's `Cargo.toml`, it must be restarted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::build_plugin::Job;
use super::paint;
use super::sources::{Sources, is_source};
use crate::Workspace;
use anyhow::Context;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// Events of one save lie closer together than this.
const QUIET: Duration = Duration::from_millis(4);
/// After all begun files are complete, this is the time to wait for more files from an editor that saves several at once. A
/// later file causes another build.
const COMPLETE: Duration = Duration::from_millis(1);
/// A build starts at latest this long after the first event.
const AT_MOST: Duration = Duration::from_millis(10);

/// Messages that wake the loop.
enum Wake {
    Changed(Vec<PathBuf>, Progress),
    /// Events were lost: look everywhere.
    Lost,
    Stop,
}

/// The progress of a file's writer, according to an event.
#[derive(Clone, Copy)]
enum Progress {
    /// More will follow.
    Begun,
    /// Closed after writing, renamed, or gone.
    Complete,
}

/// The watched folders, and the plugins that are built from each of them.
struct Watched {
    packages: Vec<(Sources, BTreeSet<String>)>,
    plugins: Vec<String>,
    _watcher: RecommendedWatcher,
}

pub(super) fn run(job: &Job, mut workspace: Workspace) -> anyhow::Result<ExitCode> {
    let (sender, wakes) = mpsc::channel();
    let stopped = Arc::new(AtomicBool::new(false));
    on_interrupt(sender.clone(), Arc::clone(&stopped))?;

    // Watching begins before the first build, so that no save during it is lost.
    let mut watched = Watched::begin(job, &workspace, &sender)?;
    for name in &watched.plugins {
        job.build(&workspace, name, false);
    }
    announce(&watched);
    while !stopped.load(Ordering::Relaxed) {
        let Some(changed) = watched.wait(&wakes) else { break };
        if changed
            .files
            .iter()
            .any(|file| file.file_name().is_some_and(|name| name == "Cargo.toml"))
        {
            match read_again(job, &workspace, &sender) {
                Ok((newer, newly_watched)) => {
                    (workspace, watched) = (newer, newly_watched);
                    announce(&watched);
                }
                Err(error) => paint::failure(&format!("{error:#}")),
            }
        }
        for name in changed.plugins.iter().filter(|_| !stopped.load(Ordering::Relaxed)) {
            job.build(&workspace, name, true);
        }
    }
    paint::line(format_args!("{}", paint::dim("stopped watching; published plugins stay")));
    Ok(ExitCode::SUCCESS)
}

/// The first interrupt ends the loop; the compiler, if it runs, gets the same signal from the terminal and ends too.
fn on_interrupt(sender: Sender<Wake>, stopped: Arc<AtomicBool>) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        stopped.store(true, Ordering::Relaxed);
        // Fails only when the loop is over already.
        let _ = sender.send(Wake::Stop);
    })
    .context("cannot catch Ctrl-C")
}

fn read_again(job: &Job, workspace: &Workspace, sender: &Sender<Wake>) -> anyhow::Result<(Workspace, Watched)> {
    let workspace = Workspace::read(&workspace.root)?;
    let watched = Watched::begin(job, &workspace, sender)?;
    Ok((workspace, watched))
}

fn announce(watched: &Watched) {
    let plugins = watched.plugins.join(", ");
    paint::line(format_args!(
        "{}",
        paint::dim(format!("watching all local sources of {plugins}; Ctrl-C ends"))
    ));
}

/// The result of a batch of events.
#[derive(Default)]
struct Changed {
    files: Vec<PathBuf>,
    plugins: BTreeSet<String>,
}

impl Watched {
    fn begin(job: &Job, workspace: &Workspace, sender: &Sender<Wake>) -> anyhow::Result<Watched> {
        let plugins = job.plugins(workspace)?;
        let mut packages: Vec<(Sources, BTreeSet<String>)> = Vec::new();
        for name in &plugins {
            for folder in workspace.source_folders(workspace.plugin(name)?) {
                match packages.iter_mut().find(|(sources, _)| sources.folder() == folder) {
                    Some((_, plugins)) => drop(plugins.insert(name.clone())),
                    None => packages.push((Sources::of(&folder), BTreeSet::from([name.clone()]))),
                }
            }
        }
        let mut watcher = notify::recommended_watcher(report_to(sender.clone())).context("cannot watch files")?;
        for folder in outermost(packages.iter().map(|(sources, _)| sources.folder())) {
            watcher
                .watch(folder, RecursiveMode::Recursive)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
        }
        Ok(Watched {
            packages,
            plugins,
            _watcher: watcher,
        })
    }

    /// Waits until the content of a source has changed. `None` means stop.
    fn wait(&mut self, wakes: &Receiver<Wake>) -> Option<Changed> {
        loop {
            let place = batch(wakes)?;
            let mut changed = Changed::default();
            for (sources, plugins) in &mut self.packages {
                let files = if place.is_in(sources.folder()) {
                    sources.look()
                } else {
                    Vec::new()
                };
                if !files.is_empty() {
                    changed.files.extend(files);
                    changed.plugins.extend(plugins.iter().cloned());
                }
            }
            if !changed.plugins.is_empty() {
                return Some(changed);
            }
        }
    }
}

/// Where something may have changed.
#[derive(Debug, PartialEq)]
enum Place {
    At(Vec<PathBuf>),
    Anywhere,
}

impl Place {
    fn is_in(&self, folder: &Path) -> bool {
        match self {
            Place::At(paths) => paths.iter().any(|path| concerns(path, folder)),
            Place::Anywhere => true,
        }
    }
}

/// Collects the events of one save. `None` means stop.
fn batch(wakes: &Receiver<Wake>) -> Option<Place> {
    let mut place = Place::At(Vec::new());
    let mut begun = BTreeSet::new();
    let mut wake = wakes.recv().ok()?;
    let until = Instant::now() + AT_MOST;
    loop {
        match wake {
            Wake::Stop => return None,
            Wake::Lost => place = Place::Anywhere,
            Wake::Changed(more, progress) => {
                for path in &more {
                    match progress {
                        Progress::Begun => drop(begun.insert(path.clone())),
                        Progress::Complete => drop(begun.remove(path)),
                    }
                }
                if let Place::At(paths) = &mut place {
                    paths.extend(more);
                }
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        let quiet = if begun.is_empty() { COMPLETE } else { QUIET };
        match wakes.recv_timeout(quiet.min(left)) {
            Ok(next) if !left.is_zero() || matches!(next, Wake::Stop) => wake = next,
            // An event that arrives now must not be lost, so everything is scanned.
            Ok(_) => return Some(Place::Anywhere),
            Err(_) => return Some(place),
        }
    }
}

fn concerns(path: &Path, folder: &Path) -> bool {
    path.strip_prefix(folder).is_ok_and(is_source)
}

/// The folders that are not inside another one of them; a recursive watch covers the rest.
fn outermost<'a>(folders: impl Iterator<Item = &'a Path>) -> Vec<&'a Path> {
    let mut outermost: Vec<&Path> = Vec::new();
    for folder in folders.collect::<BTreeSet<_>>() {
        // Sorted: a folder comes before everything in it.
        if !outermost.iter().any(|outer| folder.starts_with(outer)) {
            outermost.push(folder);
        }
    }
    outermost
}

/// Forwards events that may mean a change. Reads, which the compiler causes, are ignored.
fn report_to(sender: Sender<Wake>) -> impl Fn(notify::Result<notify::Event>) + Send + 'static {
    move |event| {
        let wake = match event {
            Ok(event) if event.need_rescan() => Wake::Lost,
            Ok(event) if is_reading(&event.kind) => return,
            Ok(event) => Wake::Changed(event.paths, progress(&event.kind)),
            Err(_) => Wake::Lost,
        };
        // Fails only when the loop is over already.
        let _ = sender.send(wake);
    }
}

fn is_reading(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

fn progress(kind: &EventKind) -> Progress {
    match kind {
        EventKind::Access(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => Progress::Complete,
        _ => Progress::Begun,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_watch_covers_nested_folders() {
        let folders = ["/w/api/macros", "/w/api", "/w/plugins/a", "/w/api-extra"].map(Path::new);
        assert_eq!(
            outermost(folders.into_iter()),
            ["/w/api", "/w/api-extra", "/w/plugins/a"].map(Path::new)
        );
    }

    #[test]
    fn events_that_lie_together_are_one_batch() {
        let (sender, wakes) = mpsc::channel();
        for name in ["a.rs", "b.rs"] {
            sender
                .send(Wake::Changed(vec![name.into()], Progress::Begun))
                .expect("the receiver lives");
        }
        assert_eq!(batch(&wakes), Some(Place::At(vec!["a.rs".into(), "b.rs".into()])));
        sender
            .send(Wake::Changed(vec!["a.rs".into()], Progress::Complete))
            .expect("the receiver lives");
        sender.send(Wake::Lost).expect("the receiver lives");
        assert_eq!(batch(&wakes), Some(Place::Anywhere), "lost events: look everywhere");
        sender.send(Wake::Stop).expect("the receiver lives");
        assert_eq!(batch(&wakes), None);
    }

    #[test]
    fn a_save_is_complete_when_its_file_is_closed_or_has_its_name() {
        use notify::event::{CreateKind, DataChange, RemoveKind, RenameMode};
        let is_complete = |kind| matches!(progress(&kind), Progress::Complete);
        assert!(is_complete(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_complete(EventKind::Modify(ModifyKind::Name(RenameMode::To))));
        assert!(is_complete(EventKind::Remove(RemoveKind::File)));
        assert!(!is_complete(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(!is_complete(EventKind::Create(CreateKind::File)));
    }

    #[test]
    fn output_and_other_folders_do_not_concern_a_package() {
        assert!(concerns(Path::new("/w/a/src/lib.rs"), Path::new("/w/a")));
        assert!(!concerns(Path::new("/w/a/target/x"), Path::new("/w/a")));
        assert!(!concerns(Path::new("/w/b/src/lib.rs"), Path::new("/w/a")));
    }
}
