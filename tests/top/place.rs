//! A host with a control socket, two plugins, and `reslot top` on it.

use fixture_interfaces::{Counter, SharedCounter};
use reslot::{Claim, Host, Policy, Slot, control::ControlSocket};
use reslot_tests::pty::Screen;
use reslot_tests::{Fixture, Folder, reslot_program};
use std::{path::PathBuf, process::Command, time::Duration};

/// A host on a folder, and its socket.
pub struct Place {
    pub host: Option<Host>,
    pub folder: Folder,
    runs: Folder,
}

impl Place {
    /// A host whose generations stay on probation until they are confirmed.
    pub fn new() -> Self {
        let policy = Policy::development()
            .probation(Duration::from_secs(3600))
            .health_every(Duration::ZERO);
        Self::with(policy)
    }

    /// A host with this policy.
    pub fn with(policy: Policy) -> Self {
        let mut place = Self {
            host: None,
            folder: Folder::new(),
            runs: Folder::new(),
        };
        place.start(policy);
        place
    }

    /// Starts the host, again if need be.
    pub fn start(&mut self, policy: Policy) {
        let host = Host::builder()
            .policy(policy)
            .watch(self.folder.path())
            .attach(ControlSocket::at(self.socket()));
        self.host = Some(host.build().expect("the host starts"));
    }

    pub fn socket(&self) -> PathBuf {
        self.runs.path().join("control.sock")
    }

    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("the host is there")
    }

    /// The shared counter, with this build of it.
    pub fn shared(&self, stamp: u64) -> Slot<dyn SharedCounter> {
        self.load("fx-shared-counter", stamp);
        self.host().slot("shared-counter").expect("it serves")
    }

    /// The counter with an owner.
    pub fn owned(&self, stamp: u64) -> Claim<dyn Counter> {
        self.load("fx-counter", stamp);
        self.host().claim("counter").expect("it serves")
    }

    /// Loads a build of a fixture.
    pub fn load(&self, package: &str, stamp: u64) {
        let fixture = Fixture::build(package);
        // Not where the host watches: what is loaded here is loaded once.
        let path = self.runs.publish(fixture.file(), &fixture.stamped(stamp));
        self.host().load(path).expect("it is a good one");
    }

    /// `reslot top`, which looks often.
    pub fn top(&self) -> Command {
        let mut command = Command::new(reslot_program());
        command
            .arg("top")
            .arg("--socket")
            .arg(self.socket())
            .args(["--interval", "50"])
            .env("NO_COLOR", "1");
        command
    }

    /// It, on the usual screen.
    pub fn screen(&self) -> Screen {
        Screen::start(self.top(), (80, 24))
    }
}

impl Place {
    /// Puts another build where a fixture was loaded from; nobody is told.
    pub fn replace(&self, package: &str, stamp: u64) {
        self.replace_by(package, &Fixture::build(package).stamped(stamp));
    }

    /// The same, with any bytes.
    pub fn replace_by(&self, package: &str, bytes: &[u8]) {
        self.runs.publish(Fixture::build(package).file(), bytes);
    }
}
