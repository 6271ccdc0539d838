//! Each kind of failure, and its exit code.

use super::{Ended, Place, reslot};
use std::{
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    process::Stdio,
    thread,
};

#[test]
fn command_lines_that_are_wrong_end_with_2() {
    for arguments in [&[][..], &["explode"], &["rollback"], &["log-level", "probe", "loud"]] {
        assert!(
            Ended::of(reslot().args(arguments)).failed(2).contains("--help"),
            "{arguments:?}"
        );
    }
}

#[test]
fn without_a_host_it_ends_with_3_and_a_remedy() {
    let run = tempfile::tempdir().unwrap();
    let said = Ended::of(reslot().arg("list").current_dir(run.path())).failed(3);
    assert!(said.contains("RESLOT_SOCKET") && said.contains("what to do"), "{said}");
    let socket = run.path().join("control.sock");
    let ask = || Ended::of(reslot().env("RESLOT_SOCKET", &socket).arg("list"));
    assert!(ask().failed(3).contains("no socket"));
    drop(UnixListener::bind(&socket).unwrap());
    assert!(ask().failed(3).contains("has ended"));
}

#[test]
fn host_of_the_folder_is_found_from_below() {
    let run = tempfile::tempdir().unwrap();
    let below = run.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let socket = run.path().join("target/reslot/control.sock");
    let _host = reslot::Host::builder()
        .attach(reslot::control::ControlSocket::at(&socket))
        .build()
        .unwrap();
    assert!(
        Ended::of(reslot().arg("list").current_dir(&below))
            .done()
            .contains("No plugin is loaded")
    );
}

#[test]
fn refusals_and_unknown_slots_have_codes_of_their_own() {
    let place = Place::new();
    let bad = place.folder.publish("bad.so", b"no library");
    assert!(
        place
            .reslot(&["reload", bad.to_str().unwrap()])
            .failed(1)
            .contains("what to do")
    );
    for arguments in [
        &["reload", "nobody"][..],
        &["rollback", "nobody"],
        &["confirm", "nobody"],
        &["history", "nobody"],
        &["why-not", "nobody"],
        &["who-holds", "nobody"],
        &["log-level", "nobody", "debug"],
    ] {
        let said = place.reslot(arguments).failed(4);
        assert!(said.contains("nobody") && said.contains("probe"), "{said}");
    }
}

#[test]
fn hosts_that_are_not_understood_end_with_5_or_3() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    for (said, code) in [
        (&b"{\"v\":2,\"id\":1,\"ok\":{\"kind\":\"overview\"}}\n"[..], 5),
        (
            b"{\"v\":1,\"id\":1,\"error\":{\"kind\":\"version\",\"message\":\"too new\"}}\n",
            5,
        ),
        (b"{\"v\":1,\"id\":1,\"ok\":{\"kind\":\"something-new\"}}\n", 5),
        (b"{\"v\":1,\"id\":1}\n", 5),
        (
            b"{\"v\":1,\"id\":2,\"ok\":{\"kind\":\"done\",\"message\":\"\",\"generation\":null}}\n",
            5,
        ),
        (b"\xff\xfe\n", 5),
        (b"{\"v\":1,", 3),
        (b"", 3),
    ] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut asked).unwrap();
                stream.write_all(said).unwrap();
            });
            let ended = Ended::of(reslot().arg("--socket").arg(&socket).arg("list"));
            assert_eq!(ended.code, Some(code), "{}: {ended:#?}", String::from_utf8_lossy(said));
        });
    }
}

#[test]
fn full_output_ends_with_6() {
    let place = Place::new();
    for arguments in [
        &["list"][..],
        &["events", "--json"],
        &["who-holds"],
        &["man"],
        &["completions", "bash"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = reslot();
        command
            .arg("--socket")
            .arg(place.socket())
            .args(arguments)
            .stdout(full)
            .stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {said}");
        assert!(said.contains("No space left") && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn follower_whose_reader_closes_ends_quietly_with_6_even_if_nothing_happens() {
    let place = Place::new();
    let mut command = reslot();
    command
        .arg("--socket")
        .arg(place.socket())
        .args(["events", "--follow", "--since", "0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut first).unwrap();
    assert!(!first.is_empty());
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn follower_ends_with_its_host() {
    let place = Place::new();
    let mut command = reslot();
    command
        .arg("--socket")
        .arg(place.socket())
        .args(["events", "--follow", "--since", "0", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The subscriber is connected once it has printed the first event.
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(place.host);
    let rest: Vec<String> = reader.lines().map(Result::unwrap).collect();
    assert!(rest.iter().any(|line| line.contains("\"shut-down\"")), "{rest:#?}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn another_user_ends_with_7() {
    let nobody = 65_534;
    let place = Place::new();
    // Any user can start the copy of the program, and can enter the socket's folder, so that only the socket's own mode
    // refuses the other user.
    let open = tempfile::tempdir().unwrap();
    let program = open.path().join("reslot");
    fs::copy(reslot_tests::reslot_program(), &program).unwrap();
    for folder in [open.path(), place.run.path()] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = std::process::Command::new(&program);
    command.current_dir("/").arg("--socket").arg(place.socket()).arg("list");
    match command.uid(nobody).gid(nobody).output() {
        // Only root can switch to another user.
        Err(_) => {}
        Ok(output) => assert_eq!(output.status.code(), Some(7), "{output:?}"),
    }
}
