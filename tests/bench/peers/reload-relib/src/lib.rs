//! The plugin that relib reloads in the reload benchmark, made as its manual says, with its feature `unloading`.
#![cfg(feature = "plugin")]
#![allow(
    dead_code,
    unused_imports,
    unused_variables,
    clippy::undocumented_unsafe_blocks,
    reason = "what relib generates"
)]

mod exports;
mod imports;

// What tells the host with which compiler and relib it was built, and tracks allocations and threads.
use relib_module as _;

relib_interface::include_exports!();
relib_interface::include_imports!();

impl exports::Exports for gen_exports::ModuleExportsImpl {
    fn stamp() -> u64 {
        // The same body as the other plugins' of the benchmark.
        static STAMP: [u8; 31] = *b"RESLOT-FIXTURE-STAMP:0000000000";
        // Through a black box: the compiler must not know what the file will say.
        let stamp = std::hint::black_box(&STAMP);
        stamp[21..]
            .iter()
            .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
    }
}
