//! A host with a control socket and two plugins, and a `reslot top` for it.

use fixture_interfaces::{Counter, SharedCounter};
use reslot::{Claim, Host, Policy, Slot, control::ControlSocket};
use reslot_tests::pty::Screen;
use reslot_tests::{Fixture, Folder, reslot_program};
use std::{path::PathBuf, process::Command, time::Duration};

/// A host with a folder and a socket.
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

    /// Starts or restarts the host.
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

    /// Loads this build of the shared counter.
    pub fn shared(&self, stamp: u64) -> Slot<dyn SharedCounter> {
        self.load("fx-shared-counter", stamp);
        self.host().slot("shared-counter").expect("it serves")
    }

    /// Loads this build of the claimed counter.
    pub fn owned(&self, stamp: u64) -> Claim<dyn Counter> {
        self.load("fx-counter", stamp);
        self.host().claim("counter").expect("it serves")
    }

    /// Loads a build of a fixture.
    pub fn load(&self, package: &str, stamp: u64) {
        let fixture = Fixture::build(package);
        // The file is outside the watched folder, so that it is loaded only once.
        let path = self.runs.publish(fixture.file(), &fixture.stamped(stamp));
        self.host().load(path).expect("it is a good one");
    }

    /// `reslot top` with a short interval.
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

    /// The same on a screen of the usual size.
    pub fn screen(&self) -> Screen {
        Screen::start(self.top(), (80, 24))
    }
}

impl Place {
    /// Replaces the file that a fixture was loaded from; the host does not notice.
    pub fn replace(&self, package: &str, stamp: u64) {
        self.replace_by(package, &Fixture::build(package).stamped(stamp));
    }

    /// The same, with any bytes.
    pub fn replace_by(&self, package: &str, bytes: &[u8]) {
        self.runs.publish(Fixture::build(package).file(), bytes);
    }
}
