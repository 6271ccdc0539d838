//! Remedies must be true: each test provokes an error of the system or the host and checks the message. Tests that limit the
//! process run in their own process.

use crate::support::{PATIENCE, assert_nothing_left, wait_for};
use fixture_interfaces::Probe;
use reslot::{
    BuildError, Claim, Event, Host, HostBuilder, Policy, Preflight, PrivateCopies, RollbackError, RollbackTarget, SlotError,
    WatchError,
    control::{ControlError, ControlSocket},
    metrics::{EndpointError, PrometheusEndpoint},
    preflight,
};
use reslot_tests::{Fixture, Folder};
use std::{
    env,
    fs::{self, File, Permissions},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

const ROLE: &str = "RESLOT_TEST_REMEDIES";

/// The folder for a child process; none in the test itself.
fn role() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// A folder that all users may enter, with builds of a probe: `1.so` to `3.so`.
fn stored() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    for stamp in 1..=3 {
        let file = folder.path().join(format!("{stamp}.so"));
        fs::write(&file, Fixture::build("fx-probe").stamped(stamp)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    }
    folder
}

fn build_in(folder: &Path, stamp: u64) -> PathBuf {
    folder.join(format!("{stamp}.so"))
}

/// Runs one test of this file in its own process, started by this command prefix.
fn passes_as_child(before: &[&str], name: &str, folder: &Path) {
    let this = env::current_exe().unwrap();
    let mut command = match before {
        [] => Command::new(this),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(this);
            command
        }
    };
    let name = format!("remedies::{name}");
    let ran = command
        .args(["--exact", &name, "--nocapture"])
        .env(ROLE, folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("test result: ok. 1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

fn plain(base: &Path) -> HostBuilder {
    Host::builder().policy(Policy::without_probation()).private_base(base)
}

/// Checks that the message contains all of `has`, and none of `has_not`.
#[track_caller]
fn assert_says(words: impl std::fmt::Display, has: &[&str], has_not: &[&str]) {
    let words = words.to_string();
    for part in has {
        assert!(words.contains(part), "{part:?} is not in: {words}");
    }
    for part in has_not {
        assert!(!words.contains(part), "{part:?} is in: {words}");
    }
}

fn limit(what: libc::__rlimit_resource_t, most: u64) {
    // SAFETY: all-zero is a valid value to be overwritten.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: room for the answer.
    assert_eq!(unsafe { libc::getrlimit(what, &raw mut limit) }, 0);
    limit.rlim_cur = most.min(limit.rlim_max);
    // SAFETY: a valid value, which is read.
    assert_eq!(unsafe { libc::setrlimit(what, &raw const limit) }, 0);
}

/// The lowest unused descriptor number.
fn next_descriptor() -> u64 {
    File::open("/dev/null").unwrap().as_raw_fd() as u64
}

#[test]
fn too_few_descriptors_are_called_that() {
    let Some(folder) = role() else {
        let folder = stored();
        return passes_as_child(&[], "too_few_descriptors_are_called_that", folder.path());
    };
    // A copy in memory keeps its descriptor, so the loader is the first to get none.
    let host = plain(&folder).private_copies(PrivateCopies::Memory).build().unwrap();
    host.load(build_in(&folder, 1)).unwrap();
    let true_words = ["Too many open files", "`ulimit -n`", "LimitNOFILE"];
    let untrue = [
        "publish it again",
        "fs.inotify",
        "max_user",
        "private_base",
        "install the library",
    ];
    let next = next_descriptor();
    limit(libc::RLIMIT_NOFILE, next);
    assert_says(host.load(build_in(&folder, 2)).unwrap_err(), &true_words, &untrue);
    // The limit increases by one each time, so each user of a descriptor is refused once.
    let (mut at, mut done) = (Vec::new(), false);
    for more in 1..20 {
        limit(libc::RLIMIT_NOFILE, next + more);
        match host.load(build_in(&folder, 2)) {
            Ok(_) => {
                done = true;
                break;
            }
            Err(refusal) => {
                assert_says(&refusal, &true_words, &untrue);
                at.push(refusal.step);
            }
        }
    }
    assert!(done, "the same content is tried again, and taken once there are enough");
    assert!(at.contains(&reslot::Step::Open), "{at:?}");

    limit(libc::RLIMIT_NOFILE, next);
    let error = plain(&folder).build().unwrap_err();
    assert!(matches!(error, BuildError::Private(_)), "{error:?}");
    assert_says(&error, &["`ulimit -n`"], &untrue);
    let mut refused_at = Vec::new();
    for more in 0..60 {
        limit(libc::RLIMIT_NOFILE, next + more);
        let built = plain(&folder)
            .watch(&folder)
            .history(folder.join("history"))
            .attach(ControlSocket::at(folder.join("control.sock")))
            .attach(PrometheusEndpoint::on(([127, 0, 0, 1], 0)))
            .build();
        let error = match built {
            Ok(_) => break,
            Err(error) => error,
        };
        assert_says(&error, &["`ulimit -n`"], &untrue);
        refused_at.push(match error {
            BuildError::Private(_) => "private",
            BuildError::History(_) => "history",
            BuildError::Watch(_) => "watch",
            BuildError::Surface(error) if error.downcast_ref::<ControlError>().is_some() => "control",
            BuildError::Surface(error) if error.downcast_ref::<EndpointError>().is_some() => "prometheus",
            other => panic!("{other}"),
        });
    }
    for part in ["history", "watch", "control", "prometheus"] {
        assert!(refused_at.contains(&part), "{part} is not in {refused_at:?}");
    }
}

#[test]
fn too_many_watches_of_the_user_are_called_that() {
    let Some(folder) = role() else {
        let folder = stored();
        return passes_as_child(&[], "too_many_watches_of_the_user_are_called_that", folder.path());
    };
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("only root can be another user here, and the own user's watches are other tests', too");
        return;
    }
    limit(libc::RLIMIT_NOFILE, u64::MAX);
    // An unused user id. SAFETY: changes the user of this process, which is a child for this test alone.
    assert_eq!(unsafe { libc::setuid(54_321) }, 0);
    let mut instances = Vec::new();
    loop {
        // SAFETY: asks for a descriptor.
        let made = unsafe { libc::inotify_init1(libc::IN_CLOEXEC) };
        if made < 0 {
            assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EMFILE));
            break;
        }
        instances.push(made);
    }
    let error = plain(&folder).watch(&folder).build().unwrap_err();
    assert!(matches!(error, BuildError::Watch(WatchError::Instances { .. })), "{error:?}");
    assert_says(&error, &["fs.inotify.max_user_instances", "HostBuilder::poll"], &["ulimit"]);
    plain(&folder)
        .watch(&folder)
        .poll(std::time::Duration::from_millis(10))
        .build()
        .unwrap();
}

#[test]
fn too_little_memory_is_called_that() {
    let Some(folder) = role() else {
        let folder = stored();
        return passes_as_child(&[], "too_little_memory_is_called_that", folder.path());
    };
    let host = plain(&folder).build().unwrap();
    for stamp in 1..=2 {
        host.load(build_in(&folder, stamp)).unwrap();
    }
    assert!(host.wait_until_retired(PATIENCE));
    let sizes = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = sizes.split(' ').next().unwrap().parse().unwrap();
    // No new mapping is possible, even if others are unmapped meanwhile; existing memory has room for messages and for the
    // file's bytes.
    limit(libc::RLIMIT_AS, pages * 4096 / 2);
    let refused = host.load(build_in(&folder, 3)).unwrap_err();
    limit(libc::RLIMIT_AS, u64::MAX);
    assert_says(
        &refused,
        &["Cannot allocate memory", "`ulimit -v`", "MemoryMax"],
        &["allows execution", "install the library", "publish it again"],
    );
    assert_eq!(refused.step, reslot::Step::Open);
    host.load(build_in(&folder, 3)).unwrap();
}

#[test]
fn unusable_base_of_the_private_folder_is_named_with_an_alternative() {
    let Some(folder) = role() else {
        let folder = stored();
        let name = "unusable_base_of_the_private_folder_is_named_with_an_alternative";
        return passes_as_child(&[], name, folder.path());
    };
    let untrue = ["publish", "install", "ulimit"];
    let refused = |base: &Path| {
        let error = plain(base).build().unwrap_err();
        assert!(matches!(error, BuildError::Private(_)), "{error:?}");
        assert_says(&error, &[&base.display().to_string(), "private_base"], &untrue);
        error.to_string()
    };
    assert_says(refused(&folder.join("missing")), &["make that folder", "TMPDIR"], &[]);
    assert_says(refused(&build_in(&folder, 1)), &["part of this path is not a folder"], &[]);
    let closed = folder.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
    // SAFETY: changes the user of this process, which is a child for this test alone; root may enter every folder.
    assert!(unsafe { libc::geteuid() != 0 || libc::setuid(65_534) == 0 });
    assert_says(refused(&closed), &["let the user of this process write"], &["build its host"]);

    let control = plain(&folder)
        .attach(ControlSocket::at(closed.join("control.sock")))
        .build()
        .unwrap_err();
    assert_says(control, &["name a path in a folder that belongs to the host's user"], &untrue);
    let control = plain(&folder)
        .attach(ControlSocket::at(build_in(&folder, 1).join("control.sock")))
        .build();
    assert_says(control.unwrap_err(), &["part of this one is not a folder"], &untrue);
    let history = plain(&folder).history(closed.join("history")).build().unwrap_err();
    assert_says(history, &["write there", "another history folder"], &untrue);
    let history = plain(&folder)
        .history(build_in(&folder, 1).join("history"))
        .build()
        .unwrap_err();
    assert_says(
        history,
        &["part of this path is not a folder", "another history folder"],
        &untrue,
    );

    let endpoint = |at: ([u8; 4], u16)| {
        let endpoint = PrometheusEndpoint::beyond_loopback(at);
        plain(&folder).attach(endpoint).build().unwrap_err()
    };
    let first_unprivileged = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first_unprivileged.trim() != "0" {
        assert_says(endpoint(([127, 0, 0, 1], 1)), &["name a port above"], &["publish", "in use"]);
    }
    assert_says(
        endpoint(([203, 0, 113, 1], 0)),
        &["name an address of this machine"],
        &["port"],
    );
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = taken.local_addr().unwrap().port();
    assert_says(
        endpoint(([127, 0, 0, 1], at)),
        &["end the process that uses the port"],
        &["above"],
    );

    let host = plain(&folder).build().unwrap();
    let unreadable = folder.join("unreadable.so");
    fs::copy(build_in(&folder, 1), &unreadable).unwrap();
    fs::set_permissions(&unreadable, Permissions::from_mode(0o000)).unwrap();
    let untrue = ["private_base", "build its host"];
    assert_says(
        host.load(&unreadable).unwrap_err(),
        &["let the host's user read the file"],
        &untrue,
    );
    assert_says(
        host.load(folder.join("missing.so")).unwrap_err(),
        &["the path does not exist"],
        &untrue,
    );
    assert_says(
        host.load(build_in(&folder, 1).join("a.so")).unwrap_err(),
        &["part of this path is not a folder"],
        &untrue,
    );
}

#[test]
fn file_system_that_is_full_or_takes_nothing_is_called_that() {
    let name = "file_system_that_is_full_or_takes_nothing_is_called_that";
    let Some(folder) = role() else {
        let folder = stored();
        let mounted = folder.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        let own_mount = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
        let mount = "mount -t tmpfs -o size=400k none \"$0\" && exec \"$@\"";
        let at = mounted.to_str().unwrap();
        let permitted = Command::new(own_mount[0])
            .args(&own_mount[1..])
            .args([mount, at, "true"])
            .output();
        if !permitted.as_ref().is_ok_and(|tried| tried.status.success()) {
            eprintln!("THIS MACHINE PERMITS NO MOUNT OF ONE'S OWN ({permitted:?}): no file system was filled");
            return;
        }
        let before = [&own_mount[..], &[mount, at]].concat();
        return passes_as_child(&before, name, folder.path());
    };
    let mounted = folder.join("mounted");
    let host = plain(&mounted).private_copies(PrivateCopies::Files).build().unwrap();
    assert_says(
        host.load(build_in(&folder, 1)).unwrap_err(),
        &["no space", "free some space", "load the artifact again", "private_base"],
        &["publish"],
    );
    // An open file keeps the mount writable.
    drop(host);
    let again = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&mounted)
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");
    assert_says(
        plain(&mounted).private_copies(PrivateCopies::Files).build().unwrap_err(),
        &["Read-only file system", "mount that file system writable", "private_base"],
        &["publish"],
    );
    assert_says(
        plain(&folder).history(mounted.join("history")).build().unwrap_err(),
        &["mount that file system writable", "another history folder"],
        &["publish"],
    );
    assert_says(
        plain(&folder)
            .attach(ControlSocket::at(mounted.join("control.sock")))
            .build()
            .unwrap_err(),
        &["mounted writable"],
        &["publish"],
    );
}

/// A program that sends the greeting of the real one, and then runs this script.
fn after_hello(folder: &Folder, name: &str, script: &str) -> Preflight {
    let program = folder.path().join(name);
    let real = reslot_tests::preflight_program().display();
    let script = format!("#!/bin/sh\nulimit -c 0\n'{real}' </dev/null 2>/dev/null | head -n 1\n{script}\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    Preflight {
        program: Some(program),
        timeout: PATIENCE,
    }
}

#[test]
fn copy_that_is_gone_before_it_is_opened_is_no_library_that_is_missing() {
    let (base, folder) = (tempfile::tempdir().unwrap(), Folder::new());
    // The preflight runs between writing and opening the copy.
    let script = format!(
        "rm '{}'/reslot-*/*.so\necho '{{\"done\":{{\"stays_mapped\":null}}}}'",
        base.path().display()
    );
    let policy = Policy::without_probation().preflight(after_hello(&folder, "removing", &script));
    let host = plain(base.path()).policy(policy).watch(folder.path()).build().unwrap();
    let build = folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    let mut events = host.events();
    let told = |events: &mut reslot::Events| {
        wait_for(events, |event| match event {
            Event::Refused(refusal) => Some(refusal.to_string()),
            Event::StillRefused { .. } => panic!("it is not the artifact's fault"),
            _ => None,
        })
    };
    let untrue = ["install the library", "rebuild"];
    let words = [
        "private copy",
        "was removed by another program",
        "load it again",
        "cleaners of temporary files",
    ];
    assert_says(told(&mut events), &words, &untrue);
    // The same content is tried again.
    fs::rename(&build, folder.path().join("libother.so")).unwrap();
    assert_says(told(&mut events), &words, &untrue);
}

#[test]
fn child_that_was_killed_or_had_not_begun_says_nothing_against_the_artifact() {
    let folder = Folder::new();
    let path = folder.publish("libprobe.so", &Fixture::build("fx-probe").stamped(1));
    for (signal, words) in [
        ("KILL", "look whether memory ran out"),
        ("TERM", "find out which process ended the child process"),
        ("SYS", "a sandbox of the host forbids a system call"),
        ("XCPU", "`ulimit -t`"),
        ("SEGV", "fix the plugin"),
    ] {
        let error = preflight(&path, &after_hello(&folder, signal, &format!("kill -{signal} $$"))).unwrap_err();
        assert_says(
            error.remedy(),
            &[words],
            if signal == "SEGV" { &[] } else { &["fix the plugin"] },
        );
        assert_eq!(error.blames_the_artifact(), !["KILL", "TERM"].contains(&signal), "{signal}");
    }
    let mut slow = after_hello(&folder, "slow", "exec sleep 1000");
    slow.timeout = std::time::Duration::from_millis(500);
    let error = preflight(&path, &slow).unwrap_err();
    assert_says(error.remedy(), &["raise `Preflight::timeout`"], &["static constructors"]);
    assert!(!error.blames_the_artifact());
    let closed = folder.path().join("closed");
    fs::write(&closed, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o644)).unwrap();
    let how = Preflight {
        program: Some(closed),
        ..Preflight::default()
    };
    let error = preflight(&path, &how).unwrap_err();
    assert_says(
        format!("{error} {}", error.remedy()),
        &["Permission denied", "let the host's user run the preflight's program"],
        &["cargo build"],
    );
}

#[test]
fn manual_rollback_without_an_earlier_version_marks_no_version_as_bad() {
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    host.load(folder.publish("libprobe.so", &probe.stamped(1))).unwrap();
    let mut events = host.events();
    let untrue = ["faulty", "fix the plugin", "file:"];
    assert_says(
        host.rollback("probe", RollbackTarget::Previous).unwrap_err(),
        &[
            "the history has no earlier good version",
            "publish the version that you want",
            "generation 1 keeps serving",
        ],
        &untrue,
    );
    let told = wait_for(&mut events, |event| {
        matches!(event, Event::NoFallback { .. }).then(|| event.to_string())
    });
    assert_says(told, &["generation 1 keeps serving", "it was requested"], &untrue);
    assert_says(
        host.rollback("probe", RollbackTarget::Prefix("ffff".parse().unwrap()))
            .unwrap_err(),
        &["no kept version begins with \"ffff\"", "kept are: "],
        &["0 kept"],
    );
    // The remedy for a manual rollback is not to fix the plugin.
    let left = folder.publish("libprobe.so", &probe.stamped(2));
    host.load(&left).unwrap();
    host.rollback("probe", RollbackTarget::Previous).unwrap();
    let bad = |why: &reslot::VersionStatus| matches!(why, reslot::VersionStatus::KnownBad(why) if why.contains("it was requested"));
    let known = host.history("probe");
    assert!(known.iter().any(|kept| bad(&kept.condition)), "{known:?}");
    assert_nothing_left(&host, 1);
}

#[test]
fn slot_of_a_host_that_has_ended_is_not_said_to_be_missing() {
    let (folder, probe) = (Folder::new(), Fixture::build("fx-probe"));
    let host = Host::builder().policy(Policy::without_probation()).build().unwrap();
    host.load(folder.publish("libprobe.so", &probe.stamped(1))).unwrap();
    let slot = host.slot::<dyn Probe>("probe").unwrap();
    let error = host.slot::<dyn Probe>("prob").map(drop).unwrap_err();
    assert_says(&error, &["no slot \"prob\"", "there are probe"], &[]);
    assert!(matches!(error, SlotError::Unknown { .. }));
    drop(slot);
    let mut claim = host.claim::<dyn Probe>("probe").unwrap();
    drop(host);
    let error = Claim::rollback(&mut claim, RollbackTarget::Previous).unwrap_err();
    assert!(matches!(error, RollbackError::Slot(SlotError::HostEnded { .. })), "{error}");
    assert_says(
        &error,
        &["its host was dropped"],
        &["no slot", "nothing is loaded", "build a plugin"],
    );
}
