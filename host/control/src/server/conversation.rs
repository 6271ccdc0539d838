//! One connection: requests in, answers out, one after the other, until either side has enough. Nothing that comes in is trusted
//! further than to be a line of at most 64 KiB; nothing that is said here waits for longer than the other end's patience allows.

use super::{answers, shared::Shared};
use crate::protocol::{Answer, Answered, ErrorKind, LONGEST_REQUEST, Refused, Request, RequestMessage, VERSION};
use reslot_runtime::{Events, surface::Asking};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::SendFlags,
};
use serde::Deserialize;
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    time::Duration,
};

/// How often a follower to whom nothing happens is looked after: he may have gone.
const LOOK: Duration = Duration::from_millis(500);

/// A conversation with one client.
pub(super) struct Conversation<'a> {
    shared: &'a Shared,
    stream: &'a UnixStream,
}

/// Events that somebody has asked for.
struct Following {
    events: Events,
    /// Also those that are still to happen.
    follow: bool,
    /// The number of the first of those.
    now: u64,
}

impl Following {
    fn new(host: &Asking<'_>, since: Option<u64>, follow: bool) -> Self {
        let now = host.next_event();
        let events = host.events_from(since.unwrap_or(now).min(now));
        Self { events, follow, now }
    }
}

/// What every version of a request has.
#[derive(Deserialize)]
struct Header {
    v: u32,
    #[serde(default)]
    id: u64,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(shared: &'a Shared, stream: &'a UnixStream) -> Self {
        Self { shared, stream }
    }

    /// Until one of the two has enough.
    pub(super) fn hold(&self) {
        let mut reader = BufReader::new(self.stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut reader).take(LONGEST_REQUEST as u64).read_until(b'\n', &mut line);
            let goes_on = match (read, line.last()) {
                (Err(_) | Ok(0), _) => false,
                (Ok(_), Some(b'\n')) => self.answer(&line),
                (Ok(_), _) if line.len() >= LONGEST_REQUEST => {
                    self.refuse(
                        0,
                        ErrorKind::Malformed,
                        format!("a request has at most {LONGEST_REQUEST} bytes"),
                    );
                    false
                }
                (Ok(_), _) => {
                    self.refuse(
                        0,
                        ErrorKind::Malformed,
                        "the request does not end with a line feed".to_owned(),
                    );
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether it goes on after that.
    fn answer(&self, line: &[u8]) -> bool {
        let malformed = |id, error: serde_json::Error| {
            let message = format!("this is no request: {error}");
            self.refuse(id, ErrorKind::Malformed, message)
        };
        let header: Header = match serde_json::from_slice(line) {
            Ok(header) => header,
            Err(error) => return malformed(0, error),
        };
        let id = header.id;
        if header.v != VERSION {
            let asked = header.v;
            let message = format!(
                "this host speaks version {VERSION} of the protocol, and was asked in version {asked}; use the `reslot` of the host's release"
            );
            return self.refuse(id, ErrorKind::Version, message);
        }
        let asked: RequestMessage = match serde_json::from_slice(line) {
            Ok(asked) => asked,
            Err(error) => return malformed(id, error),
        };
        let Ok(host) = self.shared.host.steer() else {
            return self.refuse(id, ErrorKind::Unavailable, "the host is going".to_owned());
        };
        match asked.request {
            Request::Events { since, follow } => {
                let _follower = match follow.then(|| self.shared.follower()).transpose() {
                    Ok(follower) => follower,
                    Err(why) => return self.refuse(id, ErrorKind::Unavailable, why),
                };
                let stream = Following::new(&host, since, follow);
                // Whoever follows must not keep the host.
                drop(host);
                self.events(id, stream)
            }
            request => {
                let answer = catch_unwind(AssertUnwindSafe(|| answers::answer(self.shared, &host, request)));
                let bug = |_| {
                    let message = "the host panicked while it answered; this is a bug in Reslot, please report it";
                    Err(Refused::new(ErrorKind::Unavailable, message))
                };
                let answer = answer.unwrap_or_else(bug);
                drop(host);
                send(self.stream, &Answered::new(id, answer))
            }
        }
    }

    fn refuse(&self, id: u64, kind: ErrorKind, message: String) -> bool {
        send(self.stream, &Answered::new(id, Err(Refused::new(kind, message))))
    }

    fn events(&self, id: u64, stream: Following) -> bool {
        let Following { mut events, follow, now } = stream;
        loop {
            let over = !follow || self.shared.over.load(Ordering::Acquire);
            let record = if over { events.try_recv() } else { events.recv_timeout(LOOK) };
            match record {
                Some(record) if follow || record.sequence < now => {
                    let told = Answer::Event(Box::new((&*record).into()));
                    if !send(self.stream, &Answered::new(id, Ok(told))) {
                        return false;
                    }
                }
                _ if over => break,
                _ if events.is_over() || self.is_alone() => break,
                _ => {}
            }
        }
        let message = if follow {
            "the host has ended"
        } else {
            "that is what has happened"
        };
        let done = Answer::Done {
            message: message.to_owned(),
            generation: None,
        };
        send(self.stream, &Answered::new(id, Ok(done)))
    }

    /// The other end has closed both ways. One that only says no more still listens.
    fn is_alone(&self) -> bool {
        let mut one = [PollFd::new(self.stream, PollFlags::empty())];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = poll(&mut one, Some(&none));
        !one[0].revents().is_empty()
    }
}

/// Writes a line. False if the other end is gone, or does not read.
pub(super) fn send(stream: &UnixStream, answered: &Answered) -> bool {
    let Ok(mut line) = serde_json::to_vec(answered) else {
        return false;
    };
    line.push(b'\n');
    let mut rest = &line[..];
    while !rest.is_empty() {
        // The embedder's program may not ignore SIGPIPE.
        match rustix::net::send(stream, rest, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
