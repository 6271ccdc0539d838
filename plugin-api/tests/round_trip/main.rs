//! Every shape that may cross, in both directions and within one process, without a host.

#[path = "../common/client.rs"]
mod client;
mod crossing;
mod gate;
mod growing;
mod lifecycle;
mod manifest;
mod panics;
mod served;
mod shapes;
mod threads;
