//! The socket's file: its owner, what it replaces and what it does not touch, and its removal.

use super::{builder, overview};
use reslot::{
    BuildError, Host,
    control::{Client, ClientError, ControlError},
};
use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    sync::Barrier,
    thread,
};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn refused(socket: &Path) -> ControlError {
    match builder(socket).build() {
        Err(BuildError::Surface(error)) => error.downcast().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn socket_is_its_owners_alone_and_leaves_nothing() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("a/b/control.sock");
    let host = builder(&socket).build().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!((mode(&run.path().join("a")), mode(&run.path().join("a/b"))), (0o700, 0o700));
    assert_eq!(names(&run.path().join("a/b")), ["control.sock"], "no lock, no other name");
    assert_eq!(overview(&socket).process, std::process::id());
    drop(host);
    assert!(names(&run.path().join("a/b")).is_empty());
}

#[test]
fn socket_of_a_dead_process_is_replaced() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(Client::connect(&socket), Err(ClientError::DeadProcess { .. })));
    let _host = builder(&socket).build().unwrap();
    overview(&socket);
}

#[test]
fn socket_of_a_living_host_is_left_alone_and_its_process_is_named() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("control.sock");
    let _first = builder(&socket).build().unwrap();
    let error = refused(&socket);
    let ours = std::process::id();
    assert!(
        matches!(error, ControlError::Taken { process, .. } if process == Some(ours)),
        "{error:?}"
    );
    let words = builder(&socket).build().unwrap_err().to_string();
    assert!(words.contains(&ours.to_string()) && words.contains("what to do"), "{words}");
    overview(&socket);
}

#[test]
fn two_hosts_that_start_together_do_not_take_each_others_socket() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("control.sock");
    for _ in 0..20 {
        // A socket of a dead process exists, so both hosts have something to remove.
        drop(UnixListener::bind(&socket).unwrap());
        let together = Barrier::new(4);
        let start = || {
            together.wait();
            builder(&socket).build()
        };
        let hosts: Vec<Result<Host, BuildError>> = thread::scope(|scope| {
            let starting: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            starting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(hosts.iter().filter(|host| host.is_ok()).count(), 1, "{hosts:?}");
        overview(&socket);
        drop(hosts);
        assert!(names(run.path()).is_empty());
    }
}

#[test]
fn file_that_is_no_socket_is_never_removed() {
    let run = tempfile::tempdir().unwrap();
    let (file, folder) = (run.path().join("file"), run.path().join("folder"));
    fs::write(&file, "precious").unwrap();
    fs::create_dir(&folder).unwrap();
    let (link, dangling) = (run.path().join("link"), run.path().join("dangling"));
    symlink(&file, &link).unwrap();
    symlink(run.path().join("nowhere"), &dangling).unwrap();
    // A link to a dead socket is refused, too, although the dead socket itself would be replaced.
    let (dead, to_dead) = (run.path().join("dead"), run.path().join("to-dead"));
    drop(UnixListener::bind(&dead).unwrap());
    symlink(&dead, &to_dead).unwrap();
    for path in [&file, &folder, &link, &dangling, &to_dead] {
        let error = refused(path);
        assert!(matches!(error, ControlError::NotASocket { .. }), "{error:?}");
        assert!(fs::symlink_metadata(path).is_ok());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(matches!(Client::connect(&file), Err(ClientError::NoSocket { .. })));
    // The parent is not a folder.
    let error = refused(&file.join("control.sock"));
    assert!(matches!(error, ControlError::Io { .. }), "{error:?}");
}

#[test]
fn host_removes_only_its_own_socket() {
    let run = tempfile::tempdir().unwrap();
    let socket = run.path().join("control.sock");
    let first = builder(&socket).build().unwrap();
    fs::remove_file(&socket).unwrap();
    let second = builder(&socket).build().unwrap();
    drop(first);
    overview(&socket);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "another's").unwrap();
    drop(second);
    assert_eq!(fs::read_to_string(&socket).unwrap(), "another's");
}

#[test]
fn path_that_is_too_long_for_an_address_works() {
    let run = tempfile::tempdir().unwrap();
    let folder = run.path().join("long".repeat(30)).join("longer".repeat(30));
    let socket = folder.join("control.sock");
    let host = builder(&socket).build().unwrap();
    overview(&socket);
    assert!(matches!(refused(&socket), ControlError::Taken { .. }));
    drop(host);
    assert!(names(&folder).is_empty());
}

#[test]
fn missing_socket_has_its_own_error() {
    let run = tempfile::tempdir().unwrap();
    let error = Client::connect(run.path().join("control.sock")).unwrap_err();
    assert!(matches!(error, ClientError::NoSocket { .. }), "{error:?}");
    assert!(error.to_string().contains("what to do"), "{error}");
    let error = Client::connect(run.path().join("no/folder/control.sock")).unwrap_err();
    assert!(matches!(error, ClientError::NoSocket { .. }), "{error:?}");
}
