//! The threads on which a cell's plugin is called: what each thread does before, during and after the reload.

use super::{Column, rows::Act};
use fixture_interfaces::{Probe, ProbeClient};
use reslot::{Host, Slot};
use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

/// The commands for a plugin, with their resources.
#[derive(Clone)]
pub(super) struct Telling {
    pub(super) act: Act,
    /// The descriptor from which its thread reads.
    pub(super) descriptor: Arc<OwnedFd>,
    /// The socket to which its thread connects.
    pub(super) socket: PathBuf,
}

impl Telling {
    fn tell(&self, plugin: &ProbeClient) {
        plugin
            .echo(&format!("descriptor {}", self.descriptor.as_raw_fd()))
            .expect("it echoes");
        let answer = match self.act {
            Act::Do(deed) => plugin.act(deed).expect("it acts"),
            Act::DoUntilDone(deed) => loop {
                match plugin.act(deed).expect("it acts") {
                    0 => thread::yield_now(),
                    done => break done,
                }
            },
            Act::Fail => u64::from(plugin.fail("as it was told").is_err()),
            Act::Linger => {
                let path = self.socket.to_str().expect("a plain path");
                u64::from(plugin.echo(path).expect("it echoes") == path)
            }
        };
        assert_ne!(answer, 0, "the fixture did nothing");
    }
}

/// The socket to which a plugin's thread connects.
pub(super) struct Socket(UnixListener);

impl Socket {
    pub(super) fn bind(path: &Path) -> Self {
        Self(UnixListener::bind(path).expect("a socket"))
    }

    /// Waits for the plugin's thread.
    pub(super) fn accept(self) -> UnixStream {
        self.0.accept().expect("it connects").0
    }
}

/// The thread on which the plugin was called.
pub(super) enum Calling {
    /// The main thread, or a thread that has ended.
    None,
    Looking(Arc<AtomicBool>, thread::JoinHandle<()>),
    Waiting(mpsc::Sender<()>, thread::JoinHandle<()>),
}

impl Calling {
    /// Calls the plugin once on a thread of this kind.
    pub(super) fn begin(column: Column, host: &Host, slot: &Slot<dyn Probe>, telling: &Telling) -> Self {
        let (slot, telling) = (slot.clone(), telling.clone());
        let (called, calls) = mpsc::channel();
        let calling = match column {
            Column::Main => {
                telling.tell(&slot.load());
                return Self::None;
            }
            Column::Ended => {
                let ended = thread::spawn(move || telling.tell(&slot.load())).join();
                ended.expect("the calling thread panicked");
                return Self::None;
            }
            Column::Looking => {
                let (mut reader, done) = (host.reader(), Arc::new(AtomicBool::new(false)));
                let is_done = done.clone();
                let thread = thread::spawn(move || {
                    telling.tell(reader.view().get(&slot));
                    drop(telling);
                    called.send(()).expect("somebody waits for it");
                    while !is_done.load(Ordering::Relaxed) {
                        reader.view().get(&slot).stamp().expect("it answers");
                        // Other cells need the processor, too.
                        thread::yield_now();
                    }
                });
                Self::Looking(done, thread)
            }
            Column::Waiting | Column::Ending => {
                let (end, ends) = mpsc::channel::<()>();
                let named = thread::Builder::new().name("elsewhere".to_owned());
                let thread = named.spawn(move || {
                    telling.tell(&slot.load());
                    drop((slot, telling));
                    called.send(()).expect("somebody waits for it");
                    let _ = ends.recv();
                });
                Self::Waiting(end, thread.expect("a thread"))
            }
        };
        calls.recv().expect("the calling thread panicked");
        calling
    }

    /// Ends the thread if it still runs, and checks that it ends normally.
    pub(super) fn end(self) {
        let thread = match self {
            Self::None => return,
            Self::Looking(done, thread) => {
                done.store(true, Ordering::Relaxed);
                thread
            }
            Self::Waiting(end, thread) => {
                drop(end);
                thread
            }
        };
        thread.join().expect("the calling thread panicked");
    }
}
