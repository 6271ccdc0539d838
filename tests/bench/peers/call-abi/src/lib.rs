//! The bodies behind an abi_stable trait object.

use abi_stable::{
    RMut, export_root_module,
    prefix_type::PrefixTypeTrait,
    sabi_extern_fn,
    sabi_trait::TD_Opaque,
    std_types::{RBox, RSlice, RString},
};
use call_abi_shared::{Bodies, Bodies_TO, Hears_TO, Root, Root_Ref};

#[derive(Default)]
struct Adder(u64);

impl Bodies for Adder {
    fn add(&mut self, x: u64) -> u64 {
        call_bodies::add(&mut self.0, x)
    }

    fn lent(&self, count: &mut u64, x: u64) -> u64 {
        call_bodies::add(count, x)
    }

    fn work(&self, x: u64) -> u64 {
        call_bodies::work(x)
    }

    fn sum(&self, numbers: RSlice<'_, f64>) -> f64 {
        call_bodies::sum(numbers.as_slice())
    }

    fn text(&self) -> RString {
        call_bodies::TEXT.into()
    }

    fn callback(&self, mut listener: Hears_TO<'_, RMut<'_, ()>>, x: u64) -> u64 {
        listener.hear(x)
    }
}

#[export_root_module]
fn root() -> Root_Ref {
    Root { make }.leak_into_prefix()
}

#[sabi_extern_fn]
fn make() -> Bodies_TO<'static, RBox<()>> {
    Bodies_TO::from_value(Adder::default(), TD_Opaque)
}
