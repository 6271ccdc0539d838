//! One connection to the endpoint: a request that comes in pieces, an answer that goes in pieces, and neither is waited for.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Instant,
};

/// How long a request may be, its headers included. Prometheus's has some hundred bytes.
const LONGEST: usize = 8 * 1024;

/// How many headers it may have.
const HEADERS: usize = 64;

const PLAIN: &str = "text/plain; charset=utf-8";

pub(super) struct Connection {
    stream: TcpStream,
    since: Instant,
    stage: Stage,
}

enum Stage {
    /// What has come of the request.
    Asking(Vec<u8>),
    /// The answer, and how much of it has gone.
    Answering(Vec<u8>, usize),
    /// All is said. What still comes is thrown away, until the other end has closed as well: closed before, with something unread,
    /// the answer might be lost on its way.
    Leaving,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            since: Instant::now(),
            stage: Stage::Asking(Vec::new()),
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Whether it waits for bytes to come, and not for room for those that go.
    pub(super) fn is_asking(&self) -> bool {
        !matches!(self.stage, Stage::Answering(..))
    }

    /// Does what can be done at once; false when nothing is left to do. `page` makes what is asked for.
    pub(super) fn goes_on(&mut self, page: impl FnOnce() -> Option<String>) -> bool {
        // Whatever ends it early ends this connection and nothing else.
        self.step(page).unwrap_or(false)
    }

    fn step(&mut self, page: impl FnOnce() -> Option<String>) -> io::Result<bool> {
        if let Stage::Asking(request) = &mut self.stage {
            let mut piece = [0; 2048];
            match self.stream.read(&mut piece) {
                // It has no more to say, and has asked nothing.
                Ok(0) => return Ok(false),
                Ok(bytes) => request.extend_from_slice(&piece[..bytes]),
                Err(error) => return waits(error),
            }
            let Some(answer) = answer(request, page) else {
                return Ok(true);
            };
            self.stage = Stage::Answering(answer, 0);
        }
        if let Stage::Answering(answer, gone) = &mut self.stage {
            while *gone < answer.len() {
                match self.stream.write(&answer[*gone..]) {
                    Ok(0) => return Ok(false),
                    Ok(bytes) => *gone += bytes,
                    Err(error) => return waits(error),
                }
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.stage = Stage::Leaving;
            return Ok(true);
        }
        let mut piece = [0; 2048];
        match self.stream.read(&mut piece) {
            Ok(bytes) => Ok(bytes > 0),
            Err(error) => waits(error),
        }
    }
}

fn waits(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(true),
        _ => Err(error),
    }
}

/// The answer, once the request is there as a whole.
fn answer(request: &[u8], page: impl FnOnce() -> Option<String>) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let read = match parsed.parse(request) {
        Ok(httparse::Status::Partial) if request.len() < LONGEST => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(refuse("431 Request Header Fields Too Large", "the request is too long\n"));
        }
        Ok(httparse::Status::Complete(_)) => parsed,
        Err(_) => return Some(refuse("400 Bad Request", "this is no request of HTTP/1\n")),
    };
    let path = read.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let is_head = read.method == Some("HEAD");
    Some(match (read.method, path) {
        (Some("GET" | "HEAD"), "/metrics") => match page() {
            Some(page) => whole("200 OK", "text/plain; version=0.0.4; charset=utf-8", "", &page, is_head),
            None => refuse(
                "500 Internal Server Error",
                "the host panicked while it looked its metrics up\n",
            ),
        },
        (Some("GET" | "HEAD"), _) => whole("404 Not Found", PLAIN, "", "the metrics are at /metrics\n", is_head),
        _ => whole(
            "405 Method Not Allowed",
            PLAIN,
            "Allow: GET, HEAD\r\n",
            "there is nothing here but to GET\n",
            false,
        ),
    })
}

fn refuse(status: &str, words: &str) -> Vec<u8> {
    whole(status, PLAIN, "", words, false)
}

fn whole(status: &str, kind: &str, more: &str, body: &str, is_head: bool) -> Vec<u8> {
    let length = body.len();
    let shown = if is_head { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n{shown}"
    )
    .into_bytes()
}
