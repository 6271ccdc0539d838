//! A host that is dropped while it processes a request from its socket.

use super::builder;
use crate::{
    moody::{self, on_probation},
    support::{PATIENCE, wait_until},
};
use fixture_interfaces::{Hook, How};
use reslot::{
    Event,
    control::{
        Client, ClientError,
        protocol::{Answer, ErrorKind, Request},
    },
};
use reslot_tests::Folder;
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

#[test]
fn host_waits_for_a_rollback_that_is_going_on() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("control.sock");
    let host = builder(&socket).policy(on_probation()).build().unwrap();
    let place = moody::Place::with(host, Folder::new());
    // The first generation hangs when a rollback starts it again.
    place.load_moody("fx-moody", 1, Hook::Restart, How::Hangs).unwrap();
    place.slot().load().add(5).unwrap();
    place.load("fx-moody", 2);
    let gate = place.gate(1, Hook::Restart);
    let mut asking = Client::connect(&socket).unwrap();
    let slot = "moody".to_owned();
    let asked = thread::spawn(move || asking.ask(Request::Rollback { slot, to: None }));
    gate.wait_until_reached();
    let mut other = Client::connect(&socket).unwrap();
    let moody::Place {
        host,
        events: mut stream,
        folder: _folder,
        ..
    } = place;
    let released: &'static AtomicBool = Box::leak(Box::default());
    let (done, ended) = mpsc::channel();
    let dropping = thread::spawn(move || {
        drop(host);
        let _ = done.send(released.load(Ordering::Acquire));
    });
    // The host is shutting down now.
    wait_until(
        || {
            matches!(
                other.ask(Request::Overview),
                Err(ClientError::Unavailable { .. } | ClientError::Gone { .. })
            )
        },
        "the host's end",
    );
    // A host that did not wait would end within this time.
    let early = ended.recv_timeout(Duration::from_secs(1));
    released.store(true, Ordering::Release);
    gate.open();
    assert!(early.is_err(), "the host did not wait");
    assert!(ended.recv_timeout(PATIENCE).expect("the host ends"), "the host did not wait");
    dropping.join().unwrap();

    let mut told = Vec::new();
    while let Some(record) = stream.try_recv() {
        told.push(record.event.clone());
    }
    let gone_back: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::RolledBack(report) => Some((report.from, report.to)),
            _ => None,
        })
        .collect();
    match asked.join().unwrap() {
        Ok(Answer::Done { generation, .. }) => assert_eq!((generation, &gone_back[..]), (Some(1), &[(2, 1)][..])),
        Err(ClientError::Unavailable { .. } | ClientError::Gone { .. }) => {
            assert!(gone_back.len() <= 1, "{told:#?}");
        }
        Err(ClientError::Refused(refused)) => {
            assert_eq!((refused.kind, gone_back.len()), (ErrorKind::NotDone, 0), "{told:#?}");
        }
        other => panic!("{other:#?}"),
    }
    let retired: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Retired(report) => Some((report.generation, report.served)),
            _ => None,
        })
        .collect();
    assert_eq!(retired.len(), 2, "{told:#?}");
    for served in [(1, true), (2, true)] {
        assert!(retired.contains(&served), "{told:#?}");
    }
}
