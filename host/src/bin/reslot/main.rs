//! `reslot`: for now, its verb `top` alone.

#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports)]

mod top;

fn main() {}
