//! The bodies as a module of relib, with what its documentation recommends for unloading.
#![allow(clippy::undocumented_unsafe_blocks, reason = "what relib generates")]
#![allow(improper_ctypes_definitions, reason = "both sides are built by the same compiler")]

use call_bodies::TEXT;
// Its exports.
use relib_module as _;

relib_interface::include_exports!();
relib_interface::include_imports!();

impl call_relib_shared::exports::Exports for gen_exports::ModuleExportsImpl {
    fn add(count: *mut u64, x: u64) -> u64 {
        // SAFETY: the host passes its own counter.
        call_bodies::add(unsafe { &mut *count }, x)
    }

    fn work(x: u64) -> u64 {
        call_bodies::work(x)
    }

    fn sum(numbers: *const f64, count: usize) -> f64 {
        // SAFETY: the host passes the parts of a slice that it keeps for the call.
        call_bodies::sum(unsafe { std::slice::from_raw_parts(numbers, count) })
    }

    fn text() -> String {
        TEXT.to_owned()
    }

    fn callback(x: u64) -> u64 {
        // SAFETY: the host was built from the same trait.
        unsafe { gen_imports::hear(x) }
    }
}
