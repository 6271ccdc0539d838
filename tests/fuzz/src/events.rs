//! The control protocol, from the side of the client: answers and a stream of events, from any host.

use reslot::control::{Client, ClientError, protocol::Request};
use std::{io::Write, net::Shutdown, os::unix::net::UnixStream, path::PathBuf};

/// More does not fit into a socket that nobody reads yet.
const MOST: usize = 64 << 10;

/// What a client makes of what a host sends: as a stream of events, as past events, and as one answer.
pub fn events(bytes: &[u8]) {
    if bytes.len() > MOST {
        return;
    }
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();

    let (client, _host) = client_that_hears(bytes);
    let mut heard = 0;
    let mut is_over = false;
    for event in client.follow(Some(1)).expect("the request is sent") {
        assert!(!is_over, "there is something after the end of the stream");
        match event {
            Ok(event) => {
                let written = serde_json::to_vec(&event).expect("an event can be written");
                let read: reslot::control::protocol::EventMessage = serde_json::from_slice(&written).expect("an event");
                assert_eq!(read, event);
            }
            Err(error) => {
                is_over = true;
                has_words(&error);
            }
        }
        heard += 1;
    }
    assert!(heard <= lines + 1, "{heard} items in {lines} lines");

    let (mut client, _host) = client_that_hears(bytes);
    match client.events(0) {
        Ok(events) => assert!(events.len() < lines),
        Err(error) => has_words(&error),
    }

    let (mut client, _host) = client_that_hears(bytes);
    for _ in 0..4 {
        if let Err(error) = client.ask(Request::Overview) {
            has_words(&error);
        }
    }
}

fn has_words(error: &ClientError) {
    assert!(!error.to_string().is_empty());
}

/// The other end stays open, so that requests can be sent.
fn client_that_hears(bytes: &[u8]) -> (Client, UnixStream) {
    let (ours, mut host) = UnixStream::pair().expect("a pair of sockets");
    host.write_all(bytes).expect("there is room");
    host.shutdown(Shutdown::Write).expect("it is connected");
    (Client::over(ours, PathBuf::from("fuzz.sock")), host)
}
