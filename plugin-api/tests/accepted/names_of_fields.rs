//! Fields with raw identifiers are described by their plain names.
#![forbid(unsafe_code)]
#![deny(warnings)]

use reslot_plugin_api::{Crossing, description::Kind};

#[derive(Crossing)]
#[repr(C)]
pub struct Order {
    pub r#type: u32,
}

fn main() {
    let Kind::Struct(fields) = Order::DESCRIPTION.kind else {
        panic!("a struct is described as a struct");
    };
    assert_eq!(fields[0].name, "type");
}
