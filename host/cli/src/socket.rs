//! Finds the host: the named one, or the one of the current folder.

use crate::exit::{Exit, Failure};
use reslot_control::Client;
use std::{env, path::PathBuf};

/// The socket of `cargo xtask run` in a workspace, also if cargo's target folder is elsewhere.
const IN_WORKSPACE: &str = "target/reslot/control.sock";

/// Connects to the host.
pub fn connect(named: Option<PathBuf>) -> Result<Client, Failure> {
    Ok(Client::connect(find(named)?)?)
}

/// The host's socket. It may have no listener.
pub fn find(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named);
    }
    let here = env::current_dir().unwrap_or_default();
    let mut sockets = here.ancestors().map(|folder| folder.join(IN_WORKSPACE));
    // A socket without a listener counts, too, so that the error is about it.
    sockets.find(|socket| socket.symlink_metadata().is_ok()).ok_or_else(|| {
        let words = "no host was found: there is no target/reslot/control.sock in this folder or above it\n  what to do: name the host's \
                     socket with --socket or RESLOT_SOCKET, or start a host that opens one (`reslot::control::ControlSocket`, or \
                     `reslot run FOLDER --socket PATH`)";
        Failure::Other(Exit::NoHost, words.to_owned())
    })
}

/// A slot or a file as the host understands it. Files become absolute paths, because the host has another working folder.
pub fn target(named: &str) -> Result<String, Failure> {
    if !named.contains('/') {
        return Ok(named.to_owned());
    }
    let path = std::path::absolute(named).map_err(|error| Failure::Other(Exit::Usage, format!("{named:?}: {error}")))?;
    path.into_os_string().into_string().map_err(|path| {
        let words = format!(
            "{} is not UTF-8, so it cannot be sent to the host; give the file another name",
            path.display()
        );
        Failure::Other(Exit::Usage, words)
    })
}

/// The error for an answer of the wrong kind.
pub fn nonsense() -> Failure {
    let words = "the host's answer does not fit the request; use the `reslot` of the host's release";
    Failure::Other(Exit::OtherVersion, words.to_owned())
}
