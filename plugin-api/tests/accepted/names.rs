//! Names that the expansion uses itself, raw identifiers, and traits in scope with methods of the same names.
#![forbid(unsafe_code)]
#![deny(warnings)]

use reslot_plugin_api::{Crossing, Interface, interface};

#[derive(Crossing, Clone, Copy)]
#[repr(C)]
pub struct A {
    pub r#type: u32,
}

#[derive(Crossing, Clone, Copy)]
#[repr(C)]
pub struct T(pub u32);

#[derive(Crossing, Clone, Copy)]
#[repr(u8)]
pub enum Passed {
    Yes,
    No,
}

#[interface]
pub trait Sink {
    fn pass(&mut self, passed: Passed);
    fn resume_panic(&self);
}

#[interface]
pub trait Names {
    fn generated(&mut self, __data: u64, __out: u32, __table: &A, __this: &mut T, __value: &[A], __wire: &mut [T]) -> A;
    fn more(&self, __status: &str, __result: Passed, __proxy: &mut dyn Sink, __wires: &dyn Sink) -> T;
    fn plain(&self, data: A, table: T, out: u32, connection: u32, function: u32, functions: u32, passed: u32) -> u32;
    fn r#type(&self, r#fn: u32, r#match: &str, r#dyn: &mut dyn Sink) -> u32;
    fn functions(&self) -> u32;
    fn connection(&self) -> u32;
    fn call(&self) -> u32;
    fn proxy(&self) -> u32;
    fn client(&self) -> u32;
    fn fault(&self) -> u32;
    fn write(&self, cast: u32) -> u32;
    #[since("1.1")]
    fn r#loop(&mut self, __data: u32, __table: &str, __out: &mut dyn Sink, __proxy: u32, r#if: u32) -> u32 {
        __out.pass(Passed::Yes);
        __data + __proxy + r#if + __table.len() as u32
    }
    #[since("1.1")]
    fn pass(&self, __this: &A, __value: T) -> String {
        format!("{}{}", __this.r#type, __value.0)
    }
}

#[interface]
pub trait Other {
    #[since("1.1")]
    fn pass(&self) {}
}

/// Has the same methods for everything.
pub trait Everywhere {
    fn pass(&self) {}
    fn call(&self) {}
    fn as_str(&self) {}
    fn __default_pass(&self) {}
}

impl<X: ?Sized> Everywhere for X {}

fn main() {
    let names = <dyn Names as Interface>::DESCRIPTION;
    let method = names.methods.iter().find(|method| method.name == "type");
    assert_eq!(method.map(|method| method.arguments[0].name), Some("fn"));
    assert_eq!(<A as Crossing>::DESCRIPTION.name, "A");
}
