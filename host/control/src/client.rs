//! The asking side: a connection to a running host.

use crate::{
    path::connect_to,
    peer::Peer,
    protocol::{Answer, Answered, ErrorKind, EventMessage, Refused, Request, RequestMessage, VERSION},
};
use rustix::{io::Errno, net::SendFlags};
use std::{
    io::{self, BufRead, BufReader, Read},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long an answer is waited for if nobody says otherwise. A reload takes as long as its hooks may.
const PATIENCE: Duration = Duration::from_secs(300);
/// No host says so much at once.
const LONGEST_ANSWER: u64 = 64 << 20;

/// A connection to a running host's control socket (see [`ControlSocket`](crate::ControlSocket)).
///
/// ```no_run
/// use reslot::control::{Client, protocol::{Answer, Request}};
///
/// let mut client = Client::connect("target/reslot/control.sock")?;
/// if let Answer::Overview(overview) = client.ask(Request::Overview)? {
///     for slot in overview.slots {
///         println!("{}: {:?}", slot.name, slot.generation);
///     }
/// }
/// for event in client.follow(None)? {
///     println!("{}", event?.text);
/// }
/// # Ok::<(), reslot::control::ClientError>(())
/// ```
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
    process: u32,
    last: u64,
    /// What has come of a line whose end had not come in time.
    begun: Vec<u8>,
}

/// Why a host could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing is there.
    #[error("no host answers at {path:?}: there is no socket\n  what to do: start the host, or name its socket")]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// Something is there, and nobody listens: the process has ended, or it is no socket.
    #[error(
        "no host answers at {path:?}: the process that opened the socket has ended\n  what to do: start the host again; it takes the socket over"
    )]
    DeadProcess {
        /// The socket.
        path: PathBuf,
    },
    /// The host has so many connections already, is going, or is stopped.
    #[error("the host at {path:?} does not answer: {why}")]
    Unavailable {
        /// The socket.
        path: PathBuf,
        /// In its words, or the system's.
        why: String,
    },
    /// The file's mode keeps this user off, or it belongs to somebody who is not to be believed.
    #[error("the host at {path:?} is another user's: {why}\n  what to do: ask as the user who runs the host, or as root")]
    Permission {
        /// The socket.
        path: PathBuf,
        /// The system's reason, or ours.
        why: String,
    },
    /// The host speaks another version of the protocol.
    #[error("{message}")]
    Version {
        /// In its words.
        message: String,
    },
    /// What came back is no answer.
    #[error(
        "the host at {path:?} answered something else than was asked for: {why}\n  what to do: use the `reslot` of the host's release"
    )]
    Nonsense {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The connection ended before the answer was there.
    #[error("the host at {path:?} went away in the middle: {why}")]
    Gone {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The host answered that it does not do that.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// Anything else that the system refused.
    #[error("cannot connect to {path:?}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Client {
    /// Connects to the host at this socket.
    ///
    /// # Errors
    /// If nobody listens there, or nobody who may be believed.
    pub fn connect(path: impl Into<PathBuf>) -> Result<Self, ClientError> {
        let path = path.into();
        let stream = match connect_to(&path) {
            Ok(stream) => stream,
            Err(source) => return Err(not_connected(path, source)),
        };
        let failed = |source| ClientError::Io {
            path: path.clone(),
            source,
        };
        let peer = Peer::of(&stream).map_err(failed)?;
        if !peer.may_answer() {
            let why = "its process belongs neither to this user nor to root".to_owned();
            return Err(ClientError::Permission { path, why });
        }
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        Ok(Self {
            path,
            reader: BufReader::new(stream),
            process: peer.process,
            last: 0,
            begun: Vec::new(),
        })
    }

    /// The host's process; 0 if it cannot be seen from here, as from another container.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Asks, and waits for the answer, at most five minutes. Events are asked for with [`follow`](Self::follow) and
    /// [`events`](Self::events).
    ///
    /// # Errors
    /// If the host refuses, or does not answer.
    pub fn ask(&mut self, request: Request) -> Result<Answer, ClientError> {
        self.send(request)?;
        self.receive()
    }

    /// The events from this number on (none: from now on) and those that are still to happen, until the host ends.
    ///
    /// # Errors
    /// If the request cannot be sent. Items are errors once, when the connection ends in another way than with the host.
    pub fn follow(mut self, since: Option<u64>) -> Result<Following, ClientError> {
        self.send(Request::Events { since, follow: true })?;
        // Nothing may happen for days.
        let unlimited = self.reader.get_ref().set_read_timeout(None);
        unlimited.map_err(|source| self.gone(&source.to_string()))?;
        Ok(Following(Some(self)))
    }

    /// The events from this number on that have happened, as far as the host still keeps them.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn events(&mut self, since: u64) -> Result<Vec<EventMessage>, ClientError> {
        self.send(Request::Events {
            since: Some(since),
            follow: false,
        })?;
        let mut events = Vec::new();
        loop {
            match self.receive()? {
                Answer::Event(told) => events.push(*told),
                _ => return Ok(events),
            }
        }
    }

    fn send(&mut self, request: Request) -> Result<(), ClientError> {
        self.last += 1;
        let asked = RequestMessage {
            v: VERSION,
            id: self.last,
            request,
        };
        let mut line = serde_json::to_vec(&asked).map_err(|error| self.nonsense(&error.to_string()))?;
        line.push(b'\n');
        let mut rest = &line[..];
        while !rest.is_empty() {
            match rustix::net::send(self.reader.get_ref(), rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                // It may have said why before it closed.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(error) => return Err(self.gone(&error.to_string())),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Answer, ClientError> {
        loop {
            let answered = self.line()?;
            // It came too late for whoever had asked.
            if answered.id != 0 && answered.id < self.last {
                continue;
            }
            if answered.id > self.last {
                return Err(self.nonsense("it is the answer to another request"));
            }
            return match (answered.ok, answered.error) {
                (Some(answer), None) => Ok(answer),
                (None, Some(refused)) => Err(self.refused(refused)),
                _ => Err(self.nonsense("it is neither an answer nor a refusal")),
            };
        }
    }

    fn line(&mut self) -> Result<Answered, ClientError> {
        let most = LONGEST_ANSWER.saturating_sub(self.begun.len() as u64);
        let read = (&mut self.reader).take(most).read_until(b'\n', &mut self.begun);
        match (read, self.begun.last()) {
            (Ok(_), Some(b'\n')) => {}
            (Ok(_), _) if self.begun.len() as u64 == LONGEST_ANSWER => return Err(self.nonsense("it does not end")),
            (Ok(_), _) => return Err(self.gone("it closed the connection")),
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                let (path, why) = (self.path.clone(), format!("nothing came for {PATIENCE:?}"));
                return Err(ClientError::Unavailable { path, why });
            }
            (Err(error), _) => return Err(self.gone(&error.to_string())),
        }
        let line = std::mem::take(&mut self.begun);
        // Of an answer in another version nothing else may be understood.
        let answered: serde_json::Value =
            serde_json::from_slice(&line).map_err(|error| self.nonsense(&error.to_string()))?;
        if answered.get("v").and_then(serde_json::Value::as_u64) != Some(u64::from(VERSION)) {
            let found = answered.get("v").map_or_else(|| "none".to_owned(), ToString::to_string);
            let message = format!(
                "the host speaks version {found} of the protocol, and this program version {VERSION}; use the `reslot` of the host's release"
            );
            return Err(ClientError::Version { message });
        }
        serde_json::from_value(answered).map_err(|error| self.nonsense(&error.to_string()))
    }

    fn refused(&self, refused: Refused) -> ClientError {
        match refused.kind {
            ErrorKind::Version => ClientError::Version {
                message: refused.message,
            },
            ErrorKind::Unavailable => ClientError::Unavailable {
                path: self.path.clone(),
                why: refused.message,
            },
            _ => ClientError::Refused(refused),
        }
    }

    fn gone(&self, why: &str) -> ClientError {
        let (path, why) = (self.path.clone(), why.to_owned());
        ClientError::Gone { path, why }
    }

    fn nonsense(&self, why: &str) -> ClientError {
        let (path, why) = (self.path.clone(), why.to_owned());
        ClientError::Nonsense { path, why }
    }
}

fn not_connected(path: PathBuf, source: io::Error) -> ClientError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ClientError::NoSocket { path },
        io::ErrorKind::ConnectionRefused if is_socket(&path) => ClientError::DeadProcess { path },
        io::ErrorKind::ConnectionRefused => ClientError::NoSocket { path },
        io::ErrorKind::PermissionDenied => {
            let why = source.to_string();
            ClientError::Permission { path, why }
        }
        io::ErrorKind::WouldBlock => {
            let why = "too many wait for it already; it may be stopped".to_owned();
            ClientError::Unavailable { path, why }
        }
        _ => ClientError::Io { path, source },
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// Events as they happen. Ends when the host does.
#[derive(Debug)]
pub struct Following(Option<Client>);

impl Iterator for Following {
    type Item = Result<EventMessage, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.as_mut()?.receive() {
            Ok(Answer::Event(told)) => Some(Ok(*told)),
            Ok(_) => {
                self.0 = None;
                None
            }
            Err(error) => {
                self.0 = None;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Client, ClientError, PATIENCE, Request};
    use crate::protocol::{Answer, Answered};
    use std::{
        io::Write,
        os::unix::net::{UnixListener, UnixStream},
        time::Duration,
    };

    fn line(id: u64) -> Vec<u8> {
        let (message, generation) = (format!("to request {id}"), None);
        let mut line = serde_json::to_vec(&Answered::new(id, Ok(Answer::Done { message, generation }))).expect("JSON");
        line.push(b'\n');
        line
    }

    fn connected() -> (tempfile::TempDir, Client, UnixStream) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).expect("a socket");
        let client = Client::connect(path).expect("it listens");
        let host = listener.accept().expect("it has connected").0;
        (folder, client, host)
    }

    #[test]
    fn an_answer_that_comes_too_late_is_passed_over_also_if_it_had_begun_to_come() {
        let (_folder, mut client, mut host) = connected();
        let late = line(1);
        let (begun, rest) = late.split_at(late.len() / 2);
        host.write_all(begun).expect("it is connected");
        let patience = |client: &Client, patience| client.reader.get_ref().set_read_timeout(Some(patience));
        patience(&client, Duration::from_millis(1)).expect("a timeout");
        let asked = client.ask(Request::Overview);
        assert!(matches!(asked, Err(ClientError::Unavailable { .. })), "{asked:?}");
        patience(&client, PATIENCE).expect("a timeout");
        host.write_all(&[rest, &line(2)].concat()).expect("it is connected");
        let asked = client.ask(Request::Overview);
        assert!(
            matches!(&asked, Ok(Answer::Done { message, .. }) if message == "to request 2"),
            "{asked:?}"
        );
    }

    #[test]
    fn an_answer_to_what_was_not_asked_yet_is_nonsense() {
        let (_folder, mut client, mut host) = connected();
        host.write_all(&line(2)).expect("it is connected");
        let asked = client.ask(Request::Overview);
        assert!(matches!(asked, Err(ClientError::Nonsense { .. })), "{asked:?}");
    }
}
