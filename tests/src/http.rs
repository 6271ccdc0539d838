//! A minimal HTTP client for tests of an endpoint on this machine.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Requests a path, and returns the status and the body.
///
/// # Errors
/// If the connection fails or breaks, or if no data arrives for half a minute.
pub fn get(at: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    ask(at, format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n").as_bytes())
}

/// Sends these bytes, and returns the status (0 if there was none) and the body.
///
/// # Errors
/// As [`get`].
pub fn ask(at: SocketAddr, request: &[u8]) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request)?;
    answer(stream)
}

/// Reads the rest of an answer.
///
/// # Errors
/// As [`get`].
pub fn answer(mut stream: TcpStream) -> io::Result<(u16, String)> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// Text, encoded for a query.
pub fn encoded(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    each.collect()
}
