//! The control socket of a running host, tested from the client side: answers, malformed and incomplete requests, and the
//! lifetime of the socket. The program `reslot` has its own tests (`tests/cli`).

mod answers;
mod ending;
mod hostile;
mod looks;
mod socket;
mod why_not;

use reslot::{
    Host, HostBuilder, Policy,
    control::{
        Client, ClientError, ControlSocket,
        protocol::{Answer, ErrorKind, Overview, Reason, Request},
    },
};
use reslot_tests::Folder;
use std::path::{Path, PathBuf};

/// A host with a control socket, and the folder that it watches.
struct Place {
    folder: Folder,
    _run: tempfile::TempDir,
    socket: PathBuf,
    host: Host,
}

impl Place {
    fn new() -> Self {
        Self::with(Policy::without_probation())
    }

    fn with(policy: Policy) -> Self {
        let (folder, run) = (Folder::new(), tempfile::tempdir().unwrap());
        let socket = run.path().join("control.sock");
        let host = builder(&socket).policy(policy).watch(folder.path()).build().unwrap();
        Self {
            folder,
            _run: run,
            socket,
            host,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    fn ask(&self, request: Request) -> Result<Answer, ClientError> {
        self.client().ask(request)
    }

    fn done(&self, request: Request) -> (String, Option<u64>) {
        match self.ask(request) {
            Ok(Answer::Done { message, generation }) => (message, generation),
            other => panic!("{other:#?}"),
        }
    }

    fn overview(&self) -> Overview {
        overview(&self.socket)
    }

    fn why_not(&self, target: impl AsRef<Path>) -> Reason {
        let target = target.as_ref().to_str().unwrap().to_owned();
        match self.ask(Request::WhyNot { target }) {
            Ok(Answer::WhyNot(reason)) => *reason,
            other => panic!("{other:#?}"),
        }
    }
}

fn builder(socket: &Path) -> HostBuilder {
    Host::builder().attach(ControlSocket::at(socket))
}

fn overview(socket: &Path) -> Overview {
    match Client::connect(socket).unwrap().ask(Request::Overview) {
        Ok(Answer::Overview(overview)) => *overview,
        other => panic!("{other:#?}"),
    }
}

/// The kind and the message of a refused request.
fn refused(answer: Result<Answer, ClientError>) -> (ErrorKind, String) {
    match answer {
        Err(ClientError::Refused(refused)) => (refused.kind, refused.message),
        other => panic!("{other:#?}"),
    }
}
