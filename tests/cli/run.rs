//! `reslot run`: a host in its own process, its signals, and the files that it leaves.

use super::{Ended, reslot};
use crate::support::{Gate, PATIENCE, wait_until};
use fixture_interfaces::{Hook, How, Mood};
use reslot_tests::{Fixture, Folder};
use std::{
    io::{self, BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
};

fn start(folder: &Folder, socket: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = reslot();
    command
        .arg("run")
        .arg(folder.path())
        .arg("--socket")
        .arg(socket)
        .arg("--json");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// Waits for an event.
fn hear(lines: &mut Lines<BufReader<ChildStdout>>, event: &str) -> String {
    let wanted = format!("\"event\":\"{event}\"");
    let mut lines = lines.map(Result::unwrap);
    lines
        .find(|line| line.contains(&wanted))
        .unwrap_or_else(|| panic!("no {event}"))
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
}

#[test]
fn host_of_a_folder_reloads_at_hup_and_drains_at_term() {
    let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
    let fixture = Fixture::build("fx-probe");
    folder.publish("probe.so", &fixture.stamped(1));
    let socket = run.path().join("control.sock");
    let (mut child, mut lines) = start(&folder, &socket);
    hear(&mut lines, "swapped");
    let ask = |arguments: &[&str]| Ended::of(reslot().arg("--socket").arg(&socket).args(arguments));
    assert!(ask(&["list"]).done().contains("probe"));
    signal(&child, "HUP");
    hear(&mut lines, "unchanged");

    // A second host on the same socket gets an error that names the owner, and changes nothing.
    let second = Ended::of(reslot().arg("run").arg(folder.path()).arg("--socket").arg(&socket)).failed(1);
    assert!(second.contains(&format!("process {}", child.id())), "{second}");
    assert!(ask(&["list"]).done().contains("probe"));

    signal(&child, "TERM");
    hear(&mut lines, "shut-down");
    hear(&mut lines, "retired");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!socket.exists());
}

#[test]
fn socket_of_a_killed_host_is_recognised_and_taken_over() {
    let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
    folder.publish("probe.so", &Fixture::build("fx-probe").stamped(1));
    let socket = run.path().join("control.sock");
    let (mut child, mut lines) = start(&folder, &socket);
    hear(&mut lines, "swapped");
    child.kill().unwrap();
    child.wait().unwrap();
    let said = Ended::of(reslot().arg("--socket").arg(&socket).arg("list")).failed(3);
    assert!(said.contains("has ended"), "{said}");
    let (mut child, mut lines) = start(&folder, &socket);
    hear(&mut lines, "swapped");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The exit status. A process that does not end fails the test and is killed.
fn ended(mut child: Child) -> ExitStatus {
    let pid = child.id().to_string();
    let (done, is_done) = mpsc::channel();
    let waiting = thread::spawn(move || done.send(child.wait().unwrap()));
    let status = is_done.recv_timeout(PATIENCE);
    if status.is_err() {
        let _ = Command::new("kill").args(["-s", "KILL", &pid]).status();
    }
    let _ = waiting.join();
    status.expect("it ends")
}

#[test]
fn hup_does_not_reload_a_version_that_was_rolled_back() {
    let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
    let fixture = Fixture::build("fx-probe");
    folder.publish("probe.so", &fixture.stamped(1));
    let socket = run.path().join("control.sock");
    let (child, mut lines) = start(&folder, &socket);
    hear(&mut lines, "swapped");
    let ask = |arguments: &[&str]| Ended::of(reslot().arg("--socket").arg(&socket).args(arguments)).done();
    folder.publish("probe.so", &fixture.stamped(2));
    hear(&mut lines, "swapped");
    ask(&["rollback", "probe"]);
    hear(&mut lines, "rolled-back");
    signal(&child, "HUP");
    // The host reads another file in the folder after it.
    folder.publish("zzz.so", b"no library");
    let mut events = Vec::new();
    for line in lines.by_ref().map(Result::unwrap) {
        let is_last = line.contains("zzz.so") && line.contains("\"event\":\"refused\"");
        events.push(line);
        if is_last {
            break;
        }
    }
    assert!(
        !events.iter().any(|line| line.contains("\"event\":\"swapped\"")),
        "{events:#?}"
    );
    let history = ask(&["history", "probe"]);
    assert!(history.contains("known_bad"), "{history}");
    signal(&child, "HUP");
    signal(&child, "TERM");
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert!(!rest.iter().any(|line| line.contains("\"event\":\"swapped\"")), "{rest:#?}");
    assert_eq!(ended(child).code(), Some(0));
}

#[test]
fn term_ends_it_even_if_its_output_is_not_read() {
    let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
    folder.publish("probe.so", &Fixture::build("fx-probe").stamped(1));
    let socket = run.path().join("control.sock");
    let (_nobody_reads, mut full) = io::pipe().unwrap();
    let mut command = reslot();
    command.arg("run").arg(folder.path()).arg("--socket").arg(&socket);
    rustix::io::ioctl_fionbio(&full, true).unwrap();
    while full.write(&[b' '; 512]).is_ok() {}
    while full.write(b" ").is_ok() {}
    rustix::io::ioctl_fionbio(&full, false).unwrap();
    let child = command.stdout(full).spawn().unwrap();
    let serves = || {
        let list = Ended::of(reslot().arg("--socket").arg(&socket).arg("list"));
        list.code == Some(0) && list.out.contains("probe")
    };
    wait_until(serves, "the host");
    signal(&child, "TERM");
    assert_eq!(ended(child).code(), Some(0));
    assert!(!socket.exists(), "it ended as a host does");
}

#[test]
fn second_term_ends_it_at_once() {
    let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
    let mood = Mood {
        hook: Hook::Stop,
        how: How::Hangs,
        test: 1,
        build: 1,
    };
    folder.publish("moody.so", &Fixture::build("fx-moody").stamped(mood.stamp()));
    let (child, mut lines) = start(&folder, &run.path().join("control.sock"));
    let gate = Gate::of(child.id(), &mood.gate(Hook::Stop));
    hear(&mut lines, "swapped");
    signal(&child, "TERM");
    // Its plugin hangs in `stop`, for as long as the hook timeout allows.
    gate.wait_until_reached();
    signal(&child, "TERM");
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(ended(child).code(), Some(0));
    let of_the_end = |line: &&String| line.contains("\"event\":\"retired\"") || line.contains("stop-failed");
    assert_eq!(rest.iter().find(of_the_end), None, "it waited");
}
