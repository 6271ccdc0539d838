//! The host's side of the module: loads it and times it. It is timed in this crate, where its bindings are, because they are
//! not inlined into another one.
#![allow(improper_ctypes_definitions, reason = "both sides are built by the same compiler")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "what relib generates")]

use call_bodies::{Body, Calls, Heard};
use std::{cell::RefCell, path::Path};

relib_interface::include_exports!();
relib_interface::include_imports!();

thread_local! {
    /// An import has no receiver.
    static HEARD: RefCell<Heard> = RefCell::default();
}

impl call_relib_shared::imports::Imports for gen_imports::ModuleImportsImpl {
    fn hear(n: u64) -> u64 {
        HEARD.with_borrow_mut(|heard| heard.hear(n))
    }
}

/// A loaded module.
pub struct Module {
    module: relib_host::Module<gen_exports::ModuleExports>,
}

struct Caller<'a> {
    exports: &'a gen_exports::ModuleExports,
    count: u64,
}

impl Module {
    /// # Panics
    /// If it does not load.
    pub fn load(path: &Path) -> Self {
        // SAFETY: our own module, built from the same traits; the conditions are for Windows.
        let module = unsafe { relib_host::load_module(path, gen_imports::init_imports) };
        Self {
            module: module.expect("relib loads it"),
        }
    }

    /// Nanoseconds a call.
    pub fn time(&self, body: Body, calls: u64) -> f64 {
        let mut caller = Caller {
            exports: self.module.exports(),
            count: 0,
        };
        call_bodies::run(body, calls, &mut caller)
    }
}

/// A module's panic is `None`.
fn sure<T>(answer: Option<T>) -> T {
    answer.expect("the module does not panic")
}

impl Calls for Caller<'_> {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        // SAFETY: for all of them: the module was built from the same trait, and what is passed lives for the call.
        sure(unsafe { self.exports.add(&raw mut self.count, x) })
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        // SAFETY: as above.
        sure(unsafe { self.exports.work(x) })
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        // SAFETY: as above.
        sure(unsafe { self.exports.sum(numbers.as_ptr(), numbers.len()) })
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        // SAFETY: as above.
        sure(unsafe { self.exports.text() }).len()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        // SAFETY: as above.
        sure(unsafe { self.exports.callback(x) })
    }
}
