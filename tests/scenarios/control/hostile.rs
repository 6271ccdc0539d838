//! Clients that must not harm a host: with malformed, incomplete and huge requests, too many clients, and clients that do
//! not read.

use super::{Place, overview, refused};
use crate::support::wait_until;
use fixture_interfaces::Probe;
use reslot::control::{
    Client, ClientError,
    protocol::{Answered, ErrorKind, LONGEST_REQUEST, Request},
};
use reslot_tests::Fixture;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    sync::mpsc,
    thread,
};

const WHOLE: &[u8] = b"{\"v\":1,\"id\":7,\"do\":\"overview\"}\n";

fn connect(place: &Place) -> UnixStream {
    UnixStream::connect(&place.socket).unwrap()
}

/// The host's next answer; none if it has closed the connection.
fn heard(stream: &mut BufReader<UnixStream>) -> Option<Answered> {
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(serde_json::from_str(&line).unwrap()),
    }
}

fn kind(answered: Option<Answered>) -> ErrorKind {
    answered.and_then(|answered| answered.error).expect("a refusal").kind
}

/// The host still works and keeps serving.
fn assert_well(place: &Place) {
    wait_until(
        || Client::connect(&place.socket).is_ok_and(|mut client| client.ask(Request::Overview).is_ok()),
        "the host's answer",
    );
}

#[test]
fn malformed_lines_are_refused_and_the_conversation_goes_on() {
    let place = Place::new();
    let mut stream = BufReader::new(connect(&place));
    let nested = [vec![b'['; 30_000], b"\n".to_vec()].concat();
    let nested_within = [
        b"{\"v\":1,\"id\":3,\"do\":\"overview\",\"x\":".to_vec(),
        vec![b'['; 30_000],
        b"\n".to_vec(),
    ]
    .concat();
    let noise: Vec<u8> = (0..4096u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .map(|byte| byte.max(11))
        .collect();
    let noise = [noise, b"\n".to_vec()].concat();
    for line in [
        &b"\n"[..],
        b"hello\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"{\"v\":1\n",
        b"{\"v\":-1,\"do\":\"overview\"}\n",
        b"{\"v\":1,\"id\":3}\n",
        b"{\"v\":1,\"id\":3,\"do\":\"explode\"}\n",
        b"{\"v\":1,\"id\":3,\"do\":\"reload\"}\n",
        b"{\"v\":1,\"id\":3,\"do\":\"reload\",\"target\":7}\n",
        b"{\"v\":1,\"id\":3,\"do\":\"confirm\",\"slot\":\"\xff\xfe\"}\n",
        b"\xc3\x28\x00\x01\n",
        &nested,
        &nested_within,
        &noise,
    ] {
        stream.get_ref().write_all(line).unwrap();
        assert_eq!(
            kind(heard(&mut stream)),
            ErrorKind::Malformed,
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
    stream
        .get_ref()
        .write_all(b"{\"v\":99,\"id\":5,\"do\":\"something new\"}\n")
        .unwrap();
    let answered = heard(&mut stream).unwrap();
    assert_eq!(answered.id, 5);
    assert_eq!(kind(Some(answered)), ErrorKind::Version);
    // Requests in pieces, and two at once, with unknown fields.
    for byte in WHOLE {
        stream.get_ref().write_all(&[*byte]).unwrap();
    }
    let more = b"{\"v\":1,\"id\":8,\"do\":\"overview\",\"new\":[1]}\n";
    stream.get_ref().write_all(&[WHOLE, more].concat()).unwrap();
    let answers: Vec<_> = (0..3).map(|_| heard(&mut stream).unwrap()).collect();
    assert!(answers.iter().all(|answered| answered.ok.is_some()), "{answers:#?}");
    assert_eq!(answers.iter().map(|answered| answered.id).collect::<Vec<_>>(), [7, 7, 8]);
}

#[test]
fn huge_request_is_refused_and_ends_the_conversation() {
    let place = Place::new();
    let stream = connect(&place);
    let mut writer = stream.try_clone().unwrap();
    // This is more than the buffers can hold; the host closes before all of it was written.
    let writing = thread::spawn(move || writer.write_all(&vec![b'x'; 64 << 20]).is_err());
    let mut stream = BufReader::new(stream);
    assert_eq!(kind(heard(&mut stream)), ErrorKind::Malformed);
    assert!(heard(&mut stream).is_none());
    assert!(writing.join().unwrap(), "the host read on");

    // The longest allowed request is accepted.
    let mut whole = WHOLE.to_vec();
    whole.pop();
    whole.resize(LONGEST_REQUEST - 1, b' ');
    whole.push(b'\n');
    let mut stream = BufReader::new(connect(&place));
    stream.get_ref().write_all(&whole).unwrap();
    assert!(heard(&mut stream).unwrap().ok.is_some());
    assert_well(&place);
}

#[test]
fn request_without_an_end_is_refused() {
    let place = Place::new();
    let mut stream = BufReader::new(connect(&place));
    stream.get_ref().write_all(&WHOLE[..WHOLE.len() - 1]).unwrap();
    stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(kind(heard(&mut stream)), ErrorKind::Malformed);
    assert!(heard(&mut stream).is_none());
}

#[test]
fn client_that_has_closed_its_writing_half_is_still_answered() {
    let place = Place::new();
    let mut stream = BufReader::new(connect(&place));
    stream.get_ref().write_all(WHOLE).unwrap();
    stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert!(heard(&mut stream).unwrap().ok.is_some());
}

#[test]
fn thousands_of_connections_and_half_requests_leave_nothing() {
    let place = Place::new();
    for round in 0..3_000 {
        let Ok(mut stream) = UnixStream::connect(&place.socket) else {
            continue;
        };
        // Some clients send nothing, some half a request, and some do not wait for the answer.
        let said = &WHOLE[..[0, 1, WHOLE.len() / 2, WHOLE.len()][round % 4]];
        let _ = stream.write_all(said);
    }
    assert_well(&place);
}

#[test]
fn too_many_clients_are_turned_away_until_others_have_left() {
    let place = Place::new();
    let mut inside: Vec<Client> = Vec::new();
    let turned_away = loop {
        let mut client = place.client();
        match client.ask(Request::Overview) {
            Ok(_) => inside.push(client),
            Err(error) => break error,
        }
        assert!(inside.len() <= 16);
    };
    assert_eq!(inside.len(), 16);
    assert!(matches!(turned_away, ClientError::Unavailable { .. }), "{turned_away:?}");
    for client in &mut inside {
        client.ask(Request::Overview).unwrap();
    }
    inside.pop();
    assert_well(&place);
}

#[test]
fn followers_leave_connections_free_for_requests() {
    const FOLLOW: &[u8] = b"{\"v\":1,\"id\":1,\"do\":\"events\",\"since\":0,\"follow\":true}\n";
    let place = Place::new();
    // An event is caused, so that each follower receives something and knows that it is connected.
    place.folder.publish("bad.so", b"no library");
    wait_until(|| !overview(&place.socket).reloads.is_empty(), "the refusal");
    let follow = || {
        let mut stream = BufReader::new(connect(&place));
        stream.get_ref().write_all(FOLLOW).unwrap();
        let answered = heard(&mut stream);
        (stream, answered)
    };
    let mut followers: Vec<_> = (0..12).map(|_| follow()).collect();
    for (_, answered) in &followers {
        assert!(matches!(answered, Some(Answered { ok: Some(_), .. })), "{answered:?}");
    }
    let (mut last, answered) = follow();
    let refused = answered.clone().and_then(|answered| answered.error).expect("a refusal");
    assert!(refused.message.contains("12 others follow"), "{refused:?}");
    assert_eq!(kind(answered), ErrorKind::Unavailable);
    // The refused client may still send requests, and so may others, up to the limit.
    last.get_ref().write_all(WHOLE).unwrap();
    assert!(heard(&mut last).unwrap().ok.is_some());
    let mut asking: Vec<_> = (0..3).map(|_| place.client()).collect();
    for client in &mut asking {
        client.ask(Request::Overview).unwrap();
        assert!(
            !client.events(0).unwrap().is_empty(),
            "who does not follow is told what there was"
        );
    }
    followers.pop();
    wait_until(
        || {
            last.get_ref().write_all(FOLLOW).unwrap();
            heard(&mut last).is_some_and(|answered| answered.ok.is_some())
        },
        "the place of one who went",
    );
}

#[test]
fn host_ends_while_clients_wait_follow_and_do_not_read() {
    let place = Place::new();
    let idle = connect(&place);
    let half = connect(&place);
    (&half).write_all(&WHOLE[..9]).unwrap();
    // The client sends requests forever and never reads, so the host's answers fill the buffers.
    let mut deaf = connect(&place);
    let writing = thread::spawn(move || {
        while deaf.write_all(WHOLE).is_ok() {}
        deaf
    });
    let follower = connect(&place);
    (&follower)
        .write_all(b"{\"v\":1,\"id\":1,\"do\":\"events\",\"since\":0,\"follow\":true}\n")
        .unwrap();
    assert_well(&place);
    let Place { host, socket, .. } = place;
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        drop(host);
        done.send(())
    });
    ended.recv_timeout(crate::support::PATIENCE).expect("the host ends");
    drop(writing.join().unwrap());
    for mut stream in [idle, half, follower] {
        // The connection ends in any case.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(!socket.exists());
    assert!(matches!(Client::connect(&socket), Err(ClientError::NoSocket { .. })));
}

#[test]
fn follower_that_goes_makes_room() {
    let place = Place::new();
    for _ in 0..40 {
        wait_until(|| followed(&place.socket), "a place for another follower");
    }
    fn followed(socket: &Path) -> bool {
        let mut stream = BufReader::new(UnixStream::connect(socket).unwrap());
        stream
            .get_ref()
            .write_all(b"{\"v\":1,\"id\":1,\"do\":\"events\",\"since\":0,\"follow\":true}\n")
            .unwrap();
        // An accepted follower has no event yet; a refused one gets an answer.
        stream.get_ref().set_nonblocking(true).unwrap();
        !matches!(heard(&mut stream), Some(Answered { error: Some(_), .. }))
    }
    wait_until(
        || Client::connect(&place.socket).unwrap().ask(Request::Overview).is_ok(),
        "room",
    );
    assert_eq!(overview(&place.socket).slots, []);
}

#[test]
fn names_of_files_that_are_refused_make_no_slots() {
    let place = Place::new();
    let elsewhere = reslot_tests::Folder::new();
    let bad = |number: u32| {
        Fixture::build("fx-stripped").changed(|bytes| {
            replace(bytes, "\"toolchain\":\"rustc 1.", "\"toolchain\":\"rustc 9.");
            replace(bytes, "\"name\":\"probe\"", &format!("\"name\":\"p{number:04}\""));
        })
    };
    for number in 0..1_000 {
        let refusal = place
            .host
            .load(elsewhere.publish(&format!("{number}.so"), bad(number).bytes()))
            .unwrap_err();
        assert_eq!(refusal.slot.as_deref(), Some(&*format!("p{number:04}")), "{refusal}");
    }
    assert_eq!((place.host.slots(), overview(&place.socket).slots.len()), (Vec::new(), 0));
    // The newest names are still known; the oldest are not.
    let reason = place.why_not("p0999");
    assert!(!reason.serves && reason.findings[0].contains("rustc 9."), "{reason:#?}");
    let error = place.host.slot::<dyn Probe>("p0999").unwrap_err();
    assert!(error.to_string().contains("rustc 9."), "{error}");
    let (kind, _) = refused(place.ask(Request::WhyNot {
        target: "p0000".to_owned(),
    }));
    assert_eq!(kind, ErrorKind::UnknownSlot);
}

fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes());
    let at = at.expect("the text is in the artifact");
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}
