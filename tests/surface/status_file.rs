//! A surface that uses only the public items of `reslot`, as an external one would: it writes the state of all slots to a
//! file, and reads another file that names a slot to roll back.

use reslot::{
    RollbackTarget, SlotInfo,
    surface::{FileWatch, HostHandle, Setup, Surface, SurfaceError, WatchOptions, spawn_background},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    thread::JoinHandle,
};

/// The file in its folder with the state of the slots, one line each.
pub const STATUS: &str = "status";
/// The file in its folder for requests: writing a slot's name to it rolls the slot back, and the file `answer` gets the
/// outcome.
pub const ROLLBACK: &str = "rollback";
pub const ANSWER: &str = "answer";

/// The surface, for `HostBuilder::attach`.
pub struct StatusFile {
    folder: PathBuf,
    signals: Sender<Signal>,
    inbox: Receiver<Signal>,
    watch: WatchOptions,
}

enum Signal {
    Event,
    Rollback,
    End,
}

impl StatusFile {
    pub fn in_folder(folder: &Path) -> Self {
        let (signals, inbox) = mpsc::channel();
        Self {
            folder: folder.to_owned(),
            signals,
            inbox,
            watch: WatchOptions::default(),
        }
    }
}

impl Surface for StatusFile {
    type Running = StatusWriter;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        if !self.folder.is_dir() {
            let words = format!("the status cannot be written: {} is no folder", self.folder.display());
            return Err(SurfaceError::new(words, "make the folder"));
        }
        let signals = self.signals.clone();
        setup.on_event(move |_| {
            let _ = signals.send(Signal::Event);
        });
        self.watch = setup.watch_options();
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<StatusWriter, SurfaceError> {
        let signals = self.signals.clone();
        let watch = FileWatch::start([self.folder.join(ROLLBACK)], &self.watch, move |_| {
            let _ = signals.send(Signal::Rollback);
        })?;
        let (folder, inbox) = (self.folder, self.inbox);
        let thread = spawn_background("status-file", move || run(&folder, &host, &inbox))?;
        Ok(StatusWriter {
            signals: self.signals,
            _watch: watch,
            thread: Some(thread),
        })
    }
}

/// The running part of the surface.
pub struct StatusWriter {
    signals: Sender<Signal>,
    _watch: FileWatch,
    thread: Option<JoinHandle<()>>,
}

impl Drop for StatusWriter {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(folder: &Path, host: &HostHandle, inbox: &Receiver<Signal>) {
    for signal in inbox {
        match signal {
            Signal::Event => {
                if let Ok(host) = host.ask() {
                    let lines: Vec<String> = host.slots().iter().map(line).collect();
                    replace(&folder.join(STATUS), &lines.concat());
                }
            }
            Signal::Rollback => {
                let Ok(slot) = fs::read_to_string(folder.join(ROLLBACK)) else {
                    continue;
                };
                let answer = match host.steer().map(|host| host.rollback(slot.trim(), RollbackTarget::Previous)) {
                    Ok(Ok(outcome)) => format!("done: {outcome}\n"),
                    Ok(Err(error)) => format!("refused: {error}\n"),
                    Err(ended) => format!("refused: {ended}\n"),
                };
                replace(&folder.join(ANSWER), &answer);
            }
            Signal::End => break,
        }
    }
    let _ = fs::remove_file(folder.join(STATUS));
}

fn line(slot: &SlotInfo) -> String {
    let generation = slot.generation.map_or("none".to_owned(), |number| number.to_string());
    let trial = if slot.on_probation { ", on probation" } else { "" };
    format!("{}: generation {generation}{trial}\n", slot.name)
}

/// A reader finds either the complete old text or the complete new one.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    if fs::write(&new, text).is_ok() {
        let _ = fs::rename(&new, path);
    }
}
