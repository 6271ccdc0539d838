//! The surface: it opens the socket before the host exists, and serves it until the host ends.

use crate::{
    server::{Recent, Server},
    socket::Listening,
};
use reslot_runtime::surface::{HostHandle, Setup, Surface, SurfaceError};
use std::{path::PathBuf, sync::Arc};

/// A control socket, for [`HostBuilder::attach`](reslot_runtime::HostBuilder::attach): the program `reslot` and
/// [`Client`](crate::Client) observe and steer the running host through it.
///
/// The socket's file belongs to the process's user and has mode 0600 from the start. Only that user and root may connect.
/// Missing parent folders are made with mode 0700. A socket that a dead process left is replaced, and the file is removed
/// when the host ends. Building the host fails if another process listens at the path, or if the path is not a socket:
/// [`ControlError`](crate::ControlError).
///
/// ```
/// use reslot::{Host, control::ControlSocket};
///
/// # let plugins = example_plugins::folder();
/// let socket = plugins.join("control.sock");
/// let host = Host::builder().attach(ControlSocket::at(&socket)).build()?;
/// assert!(socket.exists()); // and now: `reslot list --socket …/control.sock`
/// drop(host);
/// assert!(!socket.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    opened: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    listening: Listening,
    recent: Arc<Recent>,
}

impl ControlSocket {
    /// A control socket at this path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let (path, opened) = (path.into(), None);
        Self { path, opened }
    }
}

/// A running control socket. It ends with its host.
#[derive(Debug)]
pub struct ControlServer {
    _server: Server,
}

impl Surface for ControlSocket {
    type Running = ControlServer;

    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let listening = Listening::open(&self.path).map_err(|error| {
            let remedy = error.remedy();
            SurfaceError::new(error, remedy)
        })?;
        let recent = Arc::new(Recent::default());
        let noted = recent.clone();
        setup.on_record(move |record| noted.note(record));
        self.opened = Some(Opened { listening, recent });
        Ok(())
    }

    fn start(self, host: HostHandle) -> Result<ControlServer, SurfaceError> {
        let Some(Opened { listening, recent }) = self.opened else {
            return Err("the control socket was not opened".into());
        };
        let server = Server::start(listening, host, recent)?;
        Ok(ControlServer { _server: server })
    }
}
