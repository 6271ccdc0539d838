//! The control socket of a Reslot host: a Unix socket through which the program `reslot`, and any other program of the same
//! user, observes and steers a running host.
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
//! [`Client`] is the client side. [`protocol`] defines the messages: requests and answers, one JSON object per line.
//!
//! # Where to change what
//! - [`protocol`] is a contract: within one version, fields may be added to answers, and existing fields keep their name and
//!   meaning.
//! - `socket` opens and removes the file, and makes sure that no other user can connect; `peer` finds out which process connects.
//! - `server` takes connections, `server/conversation` reads requests and writes answers; `server/answers` and
//!   `server/why_not` make the answers, from the host's public API and from the past events that `server/recent` keeps.
//!
//! This crate uses only the public API of the runtime, as any other surface does.

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
