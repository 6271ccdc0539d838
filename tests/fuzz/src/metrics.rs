//! The endpoint for metrics: bytes from any client of the loopback address.

use reslot::{
    Host,
    metrics::{PrometheusEndpoint, PrometheusServer},
};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::LazyLock,
};

/// One host answers all inputs. A connection leaves nothing in it.
static HOST: LazyLock<(Host, SocketAddr)> = LazyLock::new(|| {
    let built = Host::builder().attach(PrometheusEndpoint::on(([127, 0, 0, 1], 0))).build();
    let host = built.expect("a host");
    let address = host.surface::<PrometheusServer>().expect("it is attached").address();
    (host, address)
});

/// One connection. The endpoint answers with one whole response or not at all, and always ends the connection.
pub fn metrics(bytes: &[u8]) {
    let mut connection = TcpStream::connect(HOST.1).expect("the endpoint listens");
    // The endpoint may have answered and closed before it has read everything.
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if connection.read_to_end(&mut answer).is_err() || answer.is_empty() {
        return;
    }
    let answer = String::from_utf8(answer).expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("the answer has a head");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.and_then(|text| text.parse().ok()).expect("a length");
    assert!(head.starts_with("HTTP/1.1 "), "{head}");
    let is_head = bytes.starts_with(b"HEAD");
    assert!(body.len() == length || is_head && body.is_empty(), "{head}\n{}", body.len());
}
