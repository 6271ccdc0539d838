//! The client side: a connection to a running host.

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

/// How long a client waits for an answer by default. A reload may take as long as its hooks.
const PATIENCE: Duration = Duration::from_secs(300);
/// No host sends a longer line.
const LONGEST_ANSWER: u64 = 64 << 20;

/// A connection to a running host's control socket (see [`ControlSocket`](crate::ControlSocket)).
///
/// ```
/// use reslot::{Host, control::{Client, ControlSocket, protocol::{Answer, Request}}};
///
/// # let plugins = example_plugins::folder();
/// let socket = plugins.join("control.sock");
/// let host = Host::builder().watch(&plugins).attach(ControlSocket::at(&socket)).build()?;
///
/// let mut client = Client::connect(&socket)?; // mostly in another program
/// let Answer::Overview(overview) = client.ask(Request::Overview)? else { panic!("an overview was asked for") };
/// assert_eq!(overview.slots.len(), 3);
/// for event in client.events(0)? {
///     println!("{}", event.text);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
    process: Option<u32>,
    last: u64,
    /// The beginning of a line whose end did not arrive in time.
    begun: Vec<u8>,
}

/// Why a request to a host failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The socket does not exist.
    #[error("no host answers at {path:?}: there is no socket\n  what to do: start the host, or name its socket")]
    NoSocket {
        /// The socket.
        path: PathBuf,
    },
    /// The path exists, but no process listens: the process has ended, or the path is not a socket.
    #[error(
        "no host answers at {path:?}: the process that opened the socket has ended\n  what to do: start the host again; it takes the socket over"
    )]
    DeadProcess {
        /// The socket.
        path: PathBuf,
    },
    /// The host has too many connections, is shutting down, or is stopped.
    #[error("the host at {path:?} does not answer: {why}")]
    Unavailable {
        /// The socket.
        path: PathBuf,
        /// The host's message, or the system's.
        why: String,
    },
    /// The file's mode excludes this user, or the socket belongs to another user who is not root.
    #[error("the host at {path:?} is another user's: {why}\n  what to do: ask as the user who runs the host, or as root")]
    Permission {
        /// The socket.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The host speaks another version of the protocol.
    #[error("{message}")]
    Version {
        /// The host's message.
        message: String,
    },
    /// The host did not send an answer to the request.
    #[error("the host at {path:?} did not answer the request: {why}\n  what to do: use the `reslot` of the host's release")]
    Nonsense {
        /// The socket.
        path: PathBuf,
        /// What is wrong with the answer.
        why: String,
    },
    /// The connection ended before the answer arrived.
    #[error("the host at {path:?} closed the connection before it had answered: {why}")]
    Gone {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The host refused the request.
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
    /// If no process listens there, or a process of a user who is neither root nor this one.
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
            process: peer.process,
            ..Self::over(stream, path)
        })
    }

    /// A client of an open connection, without the checks of [`connect`](Self::connect): for tests of what it reads.
    #[doc(hidden)]
    pub fn over(stream: UnixStream, path: PathBuf) -> Self {
        Self {
            path,
            reader: BufReader::new(stream),
            process: None,
            last: 0,
            begun: Vec::new(),
        }
    }

    /// The host's process id. None if it is not visible, for example from another container.
    pub fn process(&self) -> Option<u32> {
        self.process
    }

    /// Sends a request and waits at most five minutes for the answer. To request events, use [`follow`](Self::follow) and
    /// [`events`](Self::events).
    ///
    /// # Errors
    /// If the host refuses, or does not answer.
    pub fn ask(&mut self, request: Request) -> Result<Answer, ClientError> {
        self.send(request)?;
        self.receive()
    }

    /// The past events from this number on (none: no past events) and then all new events, until the host ends.
    ///
    /// # Errors
    /// If the request cannot be sent. The last item is an error if the connection ends before the host does.
    pub fn follow(mut self, since: Option<u64>) -> Result<Following, ClientError> {
        self.send(Request::Events { since, follow: true })?;
        // There may be no event for days.
        let unlimited = self.reader.get_ref().set_read_timeout(None);
        unlimited.map_err(|source| self.disconnected(&source.to_string()))?;
        Ok(Following(Some(self)))
    }

    /// The past events from this number on that the host still keeps.
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
                Answer::Event(event) => events.push(*event),
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
                // The host may have sent its reason before it closed.
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
                Err(error) => return Err(self.disconnected(&error.to_string())),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Answer, ClientError> {
        loop {
            let answered = self.line()?;
            // A late answer to an earlier request.
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
            (Ok(_), _) => return Err(self.disconnected("it closed the connection")),
            (Err(error), _) if error.kind() == io::ErrorKind::WouldBlock => {
                let (path, why) = (self.path.clone(), format!("nothing came for {PATIENCE:?}"));
                return Err(ClientError::Unavailable { path, why });
            }
            (Err(error), _) => return Err(self.disconnected(&error.to_string())),
        }
        let line = std::mem::take(&mut self.begun);
        // The other fields may have another meaning in another version.
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

    fn disconnected(&self, why: &str) -> ClientError {
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
            let why = "too many clients wait for it already; it may be stopped".to_owned();
            ClientError::Unavailable { path, why }
        }
        _ => ClientError::Io { path, source },
    }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// A stream of events as they happen. It ends with the host.
#[derive(Debug)]
pub struct Following(Option<Client>);

impl Iterator for Following {
    type Item = Result<EventMessage, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.as_mut()?.receive() {
            Ok(Answer::Event(event)) => Some(Ok(*event)),
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
