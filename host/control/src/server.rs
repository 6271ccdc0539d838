//! The host's side of the control socket: one thread accepts connections, and each connection has a thread.
//!
//! While the host lives, it waits for none of these threads. When the host ends, it first refuses new requests and waits for
//! the running ones. Then the server ends: it shuts the streams, so that blocked reads and writes return, and waits at most
//! a second for the threads.

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
/// A silent connection is closed after this time.
const SILENCE: Duration = Duration::from_secs(600);
/// A connection whose client does not read is closed after this time.
const DEAF: Duration = Duration::from_secs(5);
/// How long the end of a host waits for its connections.
const GOODBYE: Duration = Duration::from_secs(1);
/// The pause in nanoseconds after the system refused to accept a connection.
const REST: i64 = 20_000_000;

/// The control socket of a running host. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    connections: Arc<Connections>,
    taking: Option<JoinHandle<()>>,
    /// Dropping it wakes the thread that accepts connections.
    wake: Option<UnixStream>,
}

/// The open connections.
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
        // A connection that waits for a request ends now; one that writes an answer may finish it in time.
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

/// The thread that accepts connections. It removes the socket's file at its end.
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
            // The process has no free descriptor, and the connection stays in the queue: without a pause this would be a
            // busy loop.
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

/// Starts a thread for a connection, if its user is allowed and there is room.
fn admit(connections: &Arc<Connections>, stream: UnixStream, number: u64) {
    if !Peer::of(&stream).is_ok_and(Peer::may_ask) {
        // The file's mode excludes other users. A process that inherited a descriptor gets no answer.
        return;
    }
    let limits = [stream.set_read_timeout(Some(SILENCE)), stream.set_write_timeout(Some(DEAF))];
    let stream = Arc::new(stream);
    let mut streams = connections.streams.lock();
    if streams.len() >= MOST || limits.iter().any(Result::is_err) {
        drop(streams);
        // The buffer of a new connection is empty, so this does not block.
        send(
            &stream,
            &refused(&format!(
                "{MOST} clients are connected already; try again when one of them has closed its connection"
            )),
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
    // If the thread cannot be started, the closure is dropped, and with it the seat.
    if spawn_background(NAME, talk).is_err() {
        send(&stream, &refused("the system refused to start a thread; try again later"));
    }
}

fn refused(message: &str) -> Answered {
    let message = format!("the host is busy: {message}");
    let kind = ErrorKind::Unavailable;
    Answered::new(0, Err(Refused { kind, message }))
}

/// A place in the list of connections.
struct Seat {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut streams = self.connections.streams.lock();
        // Removes the stream from the list and shuts it, so that the other end notices at once.
        if let Some(at) = streams.iter().position(|(number, _)| *number == self.number) {
            let (_, stream) = streams.swap_remove(at);
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(streams);
        self.connections.fewer.notify_all();
    }
}
