//! The systems that Reslot is compared with, each used as its documentation says.

mod abi;
mod hot;
mod relib;
mod wasm;

use crate::comparison::Comparison;
use call_bodies::Body;

pub struct Peers {
    hot: hot::Hot,
    relib: relib::Relib,
    abi: abi::Abi,
    wasm: wasm::Wasm,
}

impl Peers {
    pub fn load() -> Self {
        Self {
            hot: hot::Hot::load(),
            relib: relib::Relib::load(),
            abi: abi::Abi::load(),
            wasm: wasm::Wasm::load(),
        }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        self.hot.ways(body, comparison);
        self.relib.ways(body, comparison);
        self.abi.ways(body, comparison);
        self.wasm.ways(body, comparison);
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        self.hot.on_threads(comparison);
        self.relib.on_threads(comparison);
        self.abi.on_threads(comparison);
        self.wasm.on_threads(comparison);
    }
}
