//! One connection to the endpoint. The request arrives and the answer leaves in pieces, without blocking.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Instant,
};

/// The longest request including headers. Prometheus's requests have some hundred bytes.
const LONGEST: usize = 8 * 1024;

/// The highest number of headers.
const HEADERS: usize = 64;

const PLAIN: &str = "text/plain; charset=utf-8";

pub(super) struct Connection {
    stream: TcpStream,
    since: Instant,
    stage: Stage,
}

enum Stage {
    /// The received part of the request.
    Asking(Vec<u8>),
    /// The answer, and the number of bytes that were sent.
    Answering(Vec<u8>, usize),
    /// The answer was sent. Further input is discarded until the other end closes, because closing a socket with unread
    /// input could lose the answer.
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

    /// Whether it waits for input, and not for space to write.
    pub(super) fn is_asking(&self) -> bool {
        !matches!(self.stage, Stage::Answering(..))
    }

    /// Does all work that does not block. False if the connection is finished. `page` makes the metrics.
    pub(super) fn advance(&mut self, page: impl FnOnce() -> Option<String>) -> bool {
        // An error ends only this connection.
        self.step(page).unwrap_or(false)
    }

    fn step(&mut self, page: impl FnOnce() -> Option<String>) -> io::Result<bool> {
        if let Stage::Asking(request) = &mut self.stage {
            let mut piece = [0; 2048];
            match self.stream.read(&mut piece) {
                // The other end has closed without a complete request.
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

/// The answer; none while the request is incomplete.
fn answer(request: &[u8], page: impl FnOnce() -> Option<String>) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let read = match parsed.parse(request) {
        Ok(httparse::Status::Partial) if request.len() < LONGEST => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(refuse("431 Request Header Fields Too Large", "the request is too long\n"));
        }
        Ok(httparse::Status::Complete(_)) => parsed,
        Err(_) => return Some(refuse("400 Bad Request", "this is not an HTTP/1 request\n")),
    };
    let path = read.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let is_head = read.method == Some("HEAD");
    Some(match (read.method, path) {
        (Some("GET" | "HEAD"), "/metrics") => match page() {
            Some(page) => response("200 OK", "text/plain; version=0.0.4; charset=utf-8", "", &page, is_head),
            None => refuse(
                "500 Internal Server Error",
                "the host panicked while it collected its metrics\n",
            ),
        },
        (Some("GET" | "HEAD"), _) => response("404 Not Found", PLAIN, "", "the metrics are at /metrics\n", is_head),
        _ => response(
            "405 Method Not Allowed",
            PLAIN,
            "Allow: GET, HEAD\r\n",
            "only GET and HEAD are supported\n",
            false,
        ),
    })
}

fn refuse(status: &str, words: &str) -> Vec<u8> {
    response(status, PLAIN, "", words, false)
}

fn response(status: &str, kind: &str, more: &str, body: &str, is_head: bool) -> Vec<u8> {
    let length = body.len();
    let shown = if is_head { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n{shown}"
    )
    .into_bytes()
}
