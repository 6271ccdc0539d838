//! Methods named like the operations of a host's `Claim`, which are functions there and hide no method.
#![forbid(unsafe_code)]
#![deny(warnings)]
use reslot_plugin_api::interface;

#[interface]
pub trait Strategy {
    fn sync(&self);
    fn generation(&self) -> u64;
    fn unload(&mut self);
    fn rollback(&mut self);
    fn shadow(&self);
    fn name(&self) -> String;
}

fn main() {}
