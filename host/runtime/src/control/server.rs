//! The host's side of its control socket: one thread that takes connections, one for each of them, and their end.
//!
//! The host waits for none of them while it lives. When it goes, requests are refused first, then everything is done that was asked
//! for, then the streams are shut, so that whoever reads or writes one comes back, and their threads are waited for, at most a second.

use super::{
    ControlTally, Listening,
    conversation::{Conversation, send},
    peer::Peer,
    protocol::{Answered, ErrorKind, Refused},
};
use crate::{error::BuildError, event::Log, host::Inner};
use parking_lot::{Condvar, Mutex};
use reslot_process::background::{self, Kind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io,
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

const NAME: &str = "reslot-control";
/// So many may be connected at once.
const MOST: usize = 16;
/// So many of them may follow events: they stay for days, and whoever has something to ask must find a place.
const MOST_FOLLOWERS: usize = 12;
/// Whoever says nothing for so long makes room.
const SILENCE: Duration = Duration::from_secs(600);
/// Whoever does not read for so long is left.
const DEAF: Duration = Duration::from_secs(5);
/// How long the end of conversations is waited for when the host goes.
const GOODBYE: Duration = Duration::from_secs(1);
/// After the system refused a connection for want of something, in nanoseconds.
const REST: i64 = 20_000_000;

/// The control socket of a running host. Dropping it ends it.
pub(crate) struct Server {
    shared: Arc<Shared>,
    taking: Option<JoinHandle<()>>,
    /// Its end wakes the thread that takes connections.
    wake: Option<UnixStream>,
}

/// What conversations share.
pub(super) struct Shared {
    /// Not the host itself: a conversation must not keep it.
    pub(super) host: Weak<Inner>,
    pub(super) log: Log,
    pub(super) tally: Arc<ControlTally>,
    pub(super) folder: Option<PathBuf>,
    pub(super) begun: Instant,
    /// Nothing is begun any more.
    pub(super) closed: AtomicBool,
    /// Everything ends.
    pub(super) over: AtomicBool,
    streams: Mutex<Vec<(u64, Arc<UnixStream>)>>,
    fewer: Condvar,
    followers: Mutex<usize>,
    /// Answers that are being made.
    busy: Mutex<usize>,
    idle: Condvar,
}

/// An answer is being made, until this is dropped.
pub(super) struct Busy<'a>(&'a Shared);

impl Shared {
    /// Before it is asked whether the host is still to be asked.
    pub(super) fn busy(&self) -> Busy<'_> {
        *self.busy.lock() += 1;
        Busy(self)
    }
}

/// Events are followed, until this is dropped.
pub(super) struct Follower<'a>(&'a Shared);

impl Shared {
    /// A place to follow from, or why there is none.
    pub(super) fn follower(&self) -> Result<Follower<'_>, String> {
        let mut followers = self.followers.lock();
        if *followers >= MOST_FOLLOWERS {
            return Err(format!(
                "the host has too much to do: {MOST_FOLLOWERS} others follow its events; the rest of its {MOST} places is for those who ask. \
                 Try again when one of them has gone, or ask for the events without following"
            ));
        }
        *followers += 1;
        Ok(Follower(self))
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        *self.0.followers.lock() -= 1;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock() -= 1;
        self.0.idle.notify_all();
    }
}

impl Server {
    pub(crate) fn start(
        listening: Listening,
        host: &Arc<Inner>,
        tally: Arc<ControlTally>,
        folder: Option<PathBuf>,
    ) -> Result<Self, BuildError> {
        let shared = Arc::new(Shared {
            host: Arc::downgrade(host),
            log: host.log.clone(),
            tally,
            folder,
            begun: Instant::now(),
            closed: AtomicBool::new(false),
            over: AtomicBool::new(false),
            streams: Mutex::default(),
            fewer: Condvar::new(),
            followers: Mutex::new(0),
            busy: Mutex::new(0),
            idle: Condvar::new(),
        });
        let (wake, woken) = UnixStream::pair().map_err(|source| listening.failed("make a pair of sockets", source))?;
        let failed = |source| BuildError::Thread { name: NAME, source };
        let taking = shared.clone();
        let taking = background::spawn(Kind::Background, NAME, move || take(&taking, &listening, &woken)).map_err(failed)?;
        Ok(Self {
            shared,
            taking: Some(taking),
            wake: Some(wake),
        })
    }

    /// From here on requests are refused. Followers hear of the end.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }

    /// Waits for what was begun: at most so long, for hooks that hang.
    pub(crate) fn finish(&self, most: Duration) {
        let deadline = crate::host::after(most);
        let mut busy = self.shared.busy.lock();
        while *busy > 0 && !self.shared.idle.wait_until(&mut busy, deadline).timed_out() {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
        self.wake = None;
        if let Some(taking) = self.taking.take() {
            let _ = taking.join();
        }
        self.shared.over.store(true, Ordering::Release);
        // Followers wait there.
        self.shared.log.wake();
        // Whoever waits for a request gets none; whoever is writing may finish, if he is quick.
        let last = Instant::now() + GOODBYE;
        for (how, deadline) in [(Shutdown::Read, last - GOODBYE / 2), (Shutdown::Both, last)] {
            let mut streams = self.shared.streams.lock();
            for (_, stream) in streams.iter() {
                let _ = stream.shutdown(how);
            }
            while !streams.is_empty() && !self.shared.fewer.wait_until(&mut streams, deadline).timed_out() {}
        }
    }
}

/// The thread that takes connections. The socket's file goes with it.
fn take(shared: &Arc<Shared>, listening: &Listening, woken: &UnixStream) {
    let _ = listening.listener.set_nonblocking(true);
    for number in 0.. {
        let mut both = [
            PollFd::new(woken, PollFlags::IN),
            PollFd::new(&listening.listener, PollFlags::IN),
        ];
        let _ = poll(&mut both, None);
        if !both[0].revents().is_empty() {
            return;
        }
        match listening.listener.accept() {
            Ok((stream, _)) => admit(shared, stream, number),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // No descriptor is left, and the connection stays in the queue: without a rest this would be a busy loop.
            Err(_) => {
                let rest = Timespec {
                    tv_sec: 0,
                    tv_nsec: REST,
                };
                let _ = poll(&mut [PollFd::new(woken, PollFlags::IN)], Some(&rest));
            }
        }
    }
}

/// Gives a connection its thread, if it may ask and there is room.
fn admit(shared: &Arc<Shared>, stream: UnixStream, number: u64) {
    if !Peer::of(&stream).is_ok_and(Peer::may_ask) {
        // The file's mode keeps everybody else off; whoever was handed the descriptor learns nothing.
        return;
    }
    let limits = [stream.set_read_timeout(Some(SILENCE)), stream.set_write_timeout(Some(DEAF))];
    let stream = Arc::new(stream);
    let mut streams = shared.streams.lock();
    if streams.len() >= MOST || limits.iter().any(Result::is_err) {
        drop(streams);
        // Into the empty buffer of a new connection: this does not wait.
        send(
            &stream,
            &refused(&format!("{MOST} others are connected; try again when one of them has gone")),
        );
        return;
    }
    streams.push((number, stream.clone()));
    drop(streams);
    let seat = Seat {
        shared: shared.clone(),
        number,
    };
    let spoken = stream.clone();
    let talk = move || {
        Conversation::new(&seat.shared, &spoken).hold();
        drop(seat);
    };
    // Without a thread the closure is dropped, and its seat with it.
    if background::spawn(Kind::Background, NAME, talk).is_err() {
        send(&stream, &refused("the system gives no thread; try again later"));
    }
}

fn refused(message: &str) -> Answered {
    let message = format!("the host has too much to do: {message}");
    let kind = ErrorKind::Unavailable;
    Answered::new(0, Err(Refused { kind, message }))
}

/// A place among those that are connected.
struct Seat {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut streams = self.shared.streams.lock();
        // With it goes what the list holds of the stream; shut, so that the other end hears of it now.
        if let Some(at) = streams.iter().position(|(number, _)| *number == self.number) {
            let (_, stream) = streams.swap_remove(at);
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(streams);
        self.shared.fewer.notify_all();
    }
}
