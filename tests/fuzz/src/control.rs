//! The control protocol, from the side of the host: lines from any client.

use reslot::{
    Host,
    control::{
        ControlSocket,
        protocol::{Answered, Request, RequestMessage},
    },
};
use std::{
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::Duration,
};

/// Lines of a client. The host reads each of them, and answers all of them over a real connection.
pub fn control(bytes: &[u8]) {
    let mut asks_only = true;
    for line in bytes.split(|byte| *byte == b'\n') {
        match RequestMessage::read(line) {
            Ok(asked) => {
                let written = serde_json::to_vec(&asked).expect("a request can be written");
                assert_eq!(
                    RequestMessage::read(&written),
                    Ok(asked.clone()),
                    "a request does not survive being written"
                );
                asks_only &= is_harmless(&asked.request);
            }
            Err(refusal) => {
                let written = serde_json::to_vec(&refusal).expect("a refusal can be written");
                let read: Answered = serde_json::from_slice(&written).expect("a refusal can be read");
                assert_eq!(read, refusal);
                assert!(read.ok.is_none() && read.error.is_some());
            }
        }
    }
    if asks_only {
        converse(bytes);
    }
}

/// Whether a request ends by itself, and touches no file of this machine.
fn is_harmless(request: &Request) -> bool {
    match request {
        Request::Events { follow, .. } => !follow,
        Request::Reload { target } | Request::WhyNot { target } => !target.contains('/'),
        Request::LoadAs { file, .. } => !file.contains('/'),
        _ => true,
    }
}

/// Each line has one answer or more, and then the connection ends.
fn converse(bytes: &[u8]) {
    let folder = crate::history::in_memory();
    let socket = folder.path().join("control.sock");
    // A host for each input: nothing of an earlier one changes the answers, and nothing is left in the end.
    let built = Host::builder().attach(ControlSocket::at(&socket)).build();
    let _host = built.expect("a host");
    let stream = UnixStream::connect(&socket).expect("the host listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    // The host may have closed the connection already.
    let _ = (&stream).write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    for line in BufReader::new(&stream).lines() {
        let line = match line {
            Ok(line) => line,
            // The host closes a connection with unread bytes.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("no answer: {error}"),
        };
        let answered: Answered = serde_json::from_str(&line).expect("an answer");
        assert_ne!(answered.ok.is_some(), answered.error.is_some(), "{line}");
        assert!(!line.contains("this is a bug in Reslot"), "{line}");
    }
}
