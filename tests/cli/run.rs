//! `reslot run`: a host in a process of its own, its signals, and what it leaves.

use super::{Ended, reslot};
use reslot_tests::{Fixture, Folder};
use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
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

    // A second host on the same socket is told whose it is, and takes nothing.
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
fn socket_of_a_host_that_was_killed_is_told_and_taken_over() {
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
