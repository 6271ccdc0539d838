//! Calls as bytes: every shape through a transport that copies bytes between the two sides, in one process; and hostile bytes.

mod allocations;
mod callbacks;
#[path = "../common/client.rs"]
mod client;
mod generated;
mod hostile;
mod interfaces;
mod loopback;
mod shapes;
