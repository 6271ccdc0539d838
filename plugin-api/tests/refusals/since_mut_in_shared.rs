//! A method that comes later and takes `&mut self`, where all others take `&self`.
use reslot_plugin_api::interface;

#[interface]
pub trait Pricer {
    fn price(&self) -> f64;
    #[since("1.1")]
    fn reset(&mut self) {}
}

fn main() {}
