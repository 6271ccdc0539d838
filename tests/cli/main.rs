//! The program `reslot`, started as from a shell, with real hosts: its output and its exit code.

mod bad_ends;
#[allow(dead_code)]
#[path = "../scenarios/bit_flips/image.rs"]
mod image;
mod run;
#[allow(dead_code)]
#[path = "../scenarios/support.rs"]
mod support;
mod verbs;

use reslot::{Host, Policy, control::ControlSocket};
use reslot_tests::{Fixture, Folder, reslot_program};
use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

/// A host with one slot, and its socket.
struct Place {
    folder: Folder,
    run: tempfile::TempDir,
    host: Host,
}

impl Place {
    fn new() -> Self {
        let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
        let policy = Policy::development().probation(Duration::from_secs(3600));
        let builder = Host::builder()
            .policy(policy)
            .attach(ControlSocket::at(run.path().join("control.sock")));
        let place = Self {
            host: builder.build().unwrap(),
            folder,
            run,
        };
        place.host.load(place.publish(1)).unwrap();
        place
    }

    fn publish(&self, stamp: u64) -> PathBuf {
        self.folder.publish("probe.so", &Fixture::build("fx-probe").stamped(stamp))
    }

    fn socket(&self) -> PathBuf {
        self.run.path().join("control.sock")
    }

    /// Runs the program for this host.
    fn reslot(&self, arguments: &[&str]) -> Ended {
        Ended::of(reslot().arg("--socket").arg(self.socket()).args(arguments))
    }
}

fn reslot() -> Command {
    let mut command = Command::new(reslot_program());
    command
        .env_remove("RESLOT_SOCKET")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("NO_COLOR");
    command
}

/// The program's end: exit code and output.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let ended = Self {
            code: status.code(),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        };
        assert!(!ended.err.contains("panicked"), "{ended:#?}");
        assert!(
            !ended.out.contains('\x1b') && !ended.err.contains('\x1b'),
            "no terminal, no colour: {ended:#?}"
        );
        ended
    }

    /// Its output, after checking that it succeeded.
    fn done(self) -> String {
        assert!(self.code == Some(0) && self.err.is_empty(), "{self:#?}");
        self.out
    }

    /// Its error text, after checking the exit code.
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self.err
    }
}
