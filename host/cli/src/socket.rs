//! Which host is meant: the one that was named, or the one of the folder in which the program is called.

use crate::exit::{Exit, Failure};
use reslot_control::Client;
use std::{env, path::PathBuf};

/// Where `cargo xtask run` opens it, within the workspace; also if cargo's target folder is elsewhere.
const IN_WORKSPACE: &str = "target/reslot/control.sock";

/// Connects to the host.
pub fn connect(named: Option<PathBuf>) -> Result<Client, Failure> {
    Ok(Client::connect(find(named)?)?)
}

/// The host's socket, whether anybody listens there or not.
pub fn find(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return Ok(named);
    }
    let here = env::current_dir().unwrap_or_default();
    let mut sockets = here.ancestors().map(|folder| folder.join(IN_WORKSPACE));
    // Also one that cannot be connected to: then that is what is told.
    sockets.find(|socket| socket.symlink_metadata().is_ok()).ok_or_else(|| {
        let words = "no host was found: there is no target/reslot/control.sock in this folder or above it\n  what to do: name the host's \
                     socket with --socket or RESLOT_SOCKET, or start a host that opens one (`reslot::control::ControlSocket`, or \
                     `reslot run FOLDER --socket PATH`)";
        Failure::Other(Exit::NoHost, words.to_owned())
    })
}

/// What a person names as a slot or a file, as a host understands it: it has another working folder.
pub fn target(named: &str) -> Result<String, Failure> {
    if !named.contains('/') {
        return Ok(named.to_owned());
    }
    let path = std::path::absolute(named).map_err(|error| Failure::Other(Exit::Usage, format!("{named:?}: {error}")))?;
    path.into_os_string().into_string().map_err(|path| {
        let words = format!(
            "{} is no UTF-8: the host cannot be told this path; give the file another name",
            path.display()
        );
        Failure::Other(Exit::Usage, words)
    })
}

/// An answer to another question.
pub fn nonsense() -> Failure {
    let words = "the host answered something else than was asked for; use the `reslot` of the host's release";
    Failure::Other(Exit::OtherVersion, words.to_owned())
}
