//! Running hosts, looked at and steered from outside of their process: the control socket. `protocol` says what goes over it,
//! `socket` opens and removes it so that nobody else ever reaches it, `server` and `conversation` answer on the host's side, from what
//! `answers`, `why_not` and `tally` find out, and `client` asks. What is done when somebody asks is done by the rest of the host.

mod answers;
mod client;
mod conversation;
mod path;
mod peer;
pub mod protocol;
mod server;
mod socket;
mod tally;
mod told;
mod why_not;

pub use client::{Client, ClientError, Following};
pub(crate) use server::Server;
pub use socket::ControlError;
pub(crate) use socket::Listening;
pub(crate) use tally::Tally as ControlTally;
