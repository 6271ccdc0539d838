//! The control socket of a Reslot host: a Unix socket through which the program `reslot`, and any other program of the same user, looks at
//! a running host and steers it.
//!
//! A host gets one as a [surface](reslot_runtime::surface):
//!
//! ```no_run
//! use reslot::{Host, control::ControlSocket};
//!
//! let host = Host::builder().attach(ControlSocket::at("/run/desk/control.sock")).build()?;
//! # Ok::<(), reslot::BuildError>(())
//! ```
//!
//! [`Client`] is the asking side, and [`protocol`] says what goes over the socket: requests and answers, one JSON object a line.
//!
//! # Where to change what
//! - [`protocol`] is a contract: fields may be added to answers, and what is there keeps its name and meaning within one version.
//! - `socket` opens and removes the file, and makes sure that no other user can connect; `peer` finds out which process connects.
//! - `server` takes connections, `server/conversation` reads requests and writes answers; `server/answers` and `server/why_not` find out what to
//!   answer, from the host's public face and from what `server/recent` has noted of past events.
//!
//! Nothing here knows more of a host than a surface of somebody else's could.

mod client;
mod control_socket;
mod event_message;
mod path;
mod peer;
pub mod protocol;
mod server;
mod socket;

pub use client::{Client, ClientError, Following};
pub use control_socket::{ControlServer, ControlSocket};
pub use socket::ControlError;
