//! One connection: it reads requests and writes answers, one after the other, until one side closes. A request is an
//! untrusted line of at most 64 KiB. No write waits longer than its time limit.

use super::{answers, shared::Shared};
use crate::protocol::{Answer, Answered, ErrorKind, LONGEST_REQUEST, Refused, Request, RequestMessage};
use reslot_runtime::{Events, surface::Asking};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::SendFlags,
};
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::Ordering,
    time::Duration,
};

/// How often an idle follower is checked, because it may have closed its connection.
const LOOK: Duration = Duration::from_millis(500);

/// A conversation with one client.
pub(super) struct Conversation<'a> {
    shared: &'a Shared,
    stream: &'a UnixStream,
}

/// A request for events.
struct Following {
    events: Events,
    /// Whether new events are requested, too.
    follow: bool,
    /// The number of the first new event.
    now: u64,
}

impl Following {
    fn new(host: &Asking<'_>, since: Option<u64>, follow: bool) -> Self {
        let now = host.next_event();
        let events = host.events_from(since.unwrap_or(now).min(now));
        Self { events, follow, now }
    }
}

impl<'a> Conversation<'a> {
    pub(super) fn new(shared: &'a Shared, stream: &'a UnixStream) -> Self {
        Self { shared, stream }
    }

    /// Serves the connection until one side closes it.
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
                        format!("a request may have at most {LONGEST_REQUEST} bytes"),
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

    /// Answers one request. False if the connection ends with it.
    fn answer(&self, line: &[u8]) -> bool {
        let asked = match RequestMessage::read(line) {
            Ok(asked) => asked,
            Err(refusal) => return send(self.stream, &refusal),
        };
        let id = asked.id;
        let Ok(host) = self.shared.host.steer() else {
            return self.refuse(id, ErrorKind::Unavailable, "the host is shutting down".to_owned());
        };
        match asked.request {
            Request::Events { since, follow } => {
                let _follower = match follow.then(|| self.shared.follower()).transpose() {
                    Ok(follower) => follower,
                    Err(why) => return self.refuse(id, ErrorKind::Unavailable, why),
                };
                let stream = Following::new(&host, since, follow);
                // A follower must not keep the host alive.
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
                    let event = Answer::Event(Box::new((&*record).into()));
                    if !send(self.stream, &Answered::new(id, Ok(event))) {
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
            "these are all events so far"
        };
        let done = Answer::Done {
            message: message.to_owned(),
            generation: None,
        };
        send(self.stream, &Answered::new(id, Ok(done)))
    }

    /// Whether the other end has closed both directions. A client that closed only its writing direction still reads.
    fn is_alone(&self) -> bool {
        let mut one = [PollFd::new(self.stream, PollFlags::empty())];
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = poll(&mut one, Some(&none));
        !one[0].revents().is_empty()
    }
}

/// Writes a line. False if the other end is closed, or does not read.
pub(super) fn send(stream: &UnixStream, answered: &Answered) -> bool {
    let Ok(mut line) = serde_json::to_vec(answered) else {
        return false;
    };
    line.push(b'\n');
    let mut rest = &line[..];
    while !rest.is_empty() {
        // The embedding program may have SIGPIPE enabled.
        match rustix::net::send(stream, rest, SendFlags::NOSIGNAL) {
            Ok(sent) => rest = &rest[sent..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
