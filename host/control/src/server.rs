//! The host's side of its control socket: one thread that takes connections, one for each of them, and their end.
//!
//! The host waits for none of them while it lives. When it ends, it refuses to be steered first and waits for the requests that were begun; then
//! this ends: the streams are shut, so that whoever reads or writes one comes back, and their threads are waited for, at most a second.

mod answers;
mod conversation;
mod recent;
mod shared;
mod why_not;

pub(crate) use recent::Recent;

use crate::{
    peer::Peer,
    protocol::{Answered, ErrorKind, Refused},
    socket::Listening,
};
use conversation::{Conversation, send};
use parking_lot::{Condvar, Mutex};
use reslot_runtime::surface::{HostHandle, SurfaceError, spawn_background, thread_remedy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shared::{MOST, Shared};
use std::{
    io,
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

const NAME: &str = "reslot-control";
/// Whoever says nothing for so long makes room.
const SILENCE: Duration = Duration::from_secs(600);
/// Whoever does not read for so long is left.
const DEAF: Duration = Duration::from_secs(5);
/// How long the end of conversations is waited for when the host goes.
const GOODBYE: Duration = Duration::from_secs(1);
/// After the system refused a connection for want of something, in nanoseconds.
const REST: i64 = 20_000_000;

/// The control socket of a running host. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    connections: Arc<Connections>,
    taking: Option<JoinHandle<()>>,
    /// Its end wakes the thread that takes connections.
    wake: Option<UnixStream>,
}

/// The connections that are served.
#[derive(Debug)]
struct Connections {
    shared: Shared,
    streams: Mutex<Vec<(u64, Arc<UnixStream>)>>,
    fewer: Condvar,
}

impl Server {
    pub(crate) fn start(listening: Listening, host: HostHandle, recent: Arc<Recent>) -> Result<Self, SurfaceError> {
        let connections = Arc::new(Connections {
            shared: Shared::new(host, recent),
            streams: Mutex::default(),
            fewer: Condvar::new(),
        });
        let (wake, woken) = UnixStream::pair().map_err(|source| {
            let error = listening.failed("make a pair of sockets", source);
            let remedy = error.remedy();
            SurfaceError::new(error, remedy)
        })?;
        let taking = connections.clone();
        let taking = spawn_background(NAME, move || take(&taking, &listening, &woken)).map_err(|error| {
            let remedy = thread_remedy(&error);
            SurfaceError::new(error, remedy).context(format!("the host's thread {NAME:?} could not be started"))
        })?;
        Ok(Self {
            connections,
            taking: Some(taking),
            wake: Some(wake),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(taking) = self.taking.take() {
            let _ = taking.join();
        }
        let Connections { shared, streams, fewer } = &*self.connections;
        shared.over.store(true, Ordering::Release);
        // Whoever waits for a request gets none; whoever is writing may finish, if he is quick.
        let last = Instant::now() + GOODBYE;
        for (how, deadline) in [(Shutdown::Read, last - GOODBYE / 2), (Shutdown::Both, last)] {
            let mut streams = streams.lock();
            for (_, stream) in streams.iter() {
                let _ = stream.shutdown(how);
            }
            while !streams.is_empty() && !fewer.wait_until(&mut streams, deadline).timed_out() {}
        }
    }
}

/// The thread that takes connections. The socket's file goes with it.
fn take(connections: &Arc<Connections>, listening: &Listening, woken: &UnixStream) {
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
            Ok((stream, _)) => admit(connections, stream, number),
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
fn admit(connections: &Arc<Connections>, stream: UnixStream, number: u64) {
    if !Peer::of(&stream).is_ok_and(Peer::may_ask) {
        // The file's mode keeps everybody else off; whoever was handed the descriptor learns nothing.
        return;
    }
    let limits = [stream.set_read_timeout(Some(SILENCE)), stream.set_write_timeout(Some(DEAF))];
    let stream = Arc::new(stream);
    let mut streams = connections.streams.lock();
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
        connections: connections.clone(),
        number,
    };
    let spoken = stream.clone();
    let talk = move || {
        Conversation::new(&seat.connections.shared, &spoken).hold();
        drop(seat);
    };
    // Without a thread the closure is dropped, and its seat with it.
    if spawn_background(NAME, talk).is_err() {
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
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut streams = self.connections.streams.lock();
        // With it goes what the list holds of the stream; shut, so that the other end hears of it now.
        if let Some(at) = streams.iter().position(|(number, _)| *number == self.number) {
            let (_, stream) = streams.swap_remove(at);
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(streams);
        self.connections.fewer.notify_all();
    }
}
