//! The compiler, and the code that it has made. All code of this process is listed, so that what the kernel lists at an address after code was freed
//! is not mistaken for it.

use crate::{
    cache::{self, Cache},
    imports,
    sandbox::Data,
    ticker,
};
use reslot_sync::Mutex;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};
use wasmtime::{Collector, Config, Engine, InstancePre, Linker, Module, OptLevel};

/// The compiler with its settings.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    linker: Linker<Data>,
    cache: Option<Cache>,
    /// Stands for the version of the compiler and its settings.
    how: u64,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// Where the code of all modules lies that are mapped. It is locked while code is mapped or unmapped.
static MAPPED: Mutex<Vec<Range<usize>>> = Mutex::new(Vec::new());

impl Runtime {
    pub(crate) fn new(stack: usize, cache: Option<Cache>) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config
            // Handlers of signals are the process's, and disturb a program's own and its core dumps.
            .signals_based_traps(false)
            .epoch_interruption(true)
            .max_wasm_stack(stack)
            .wasm_exceptions(true)
            .collector(Collector::DeferredReferenceCounting)
            .wasm_backtrace_max_frames(None)
            .native_unwind_info(false)
            .cranelift_opt_level(OptLevel::Speed)
            // Only what is used is mapped.
            .memory_init_cow(false)
            .memory_guard_size(0)
            .memory_reservation(0)
            .gc_heap_guard_size(0)
            .gc_heap_reservation(0);
        let engine = Engine::new(&config)?;
        ticker::add(&engine)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            linker: imports::linker(&engine)?,
            engine,
            cache,
            how: hasher.finish(),
        })
    }

    /// Compiles a module, or takes it from the cache.
    pub(crate) fn compile(&self, module: &[u8]) -> wasmtime::Result<Code> {
        let Some(cache) = &self.cache else {
            return self.map(&self.engine.precompile_module(module)?);
        };
        let key = cache::key(module, self.how);
        if let Some(code) = cache.find(&key) {
            return self.map(&code);
        }
        let code = self.engine.precompile_module(module)?;
        cache.keep(&key, &code);
        self.map(&code)
    }

    fn map(&self, code: &[u8]) -> wasmtime::Result<Code> {
        let mut mapped = MAPPED.lock();
        // SAFETY: the bytes are the compiler's, from this process or from a file that only this user could have written and that has the hash that it had.
        let module = unsafe { Module::deserialize(&self.engine, code)? };
        let bytes = module.image_range();
        let range = bytes.start.addr()..bytes.end.addr();
        let linked = self.linker.instantiate_pre(&module)?;
        mapped.push(range.clone());
        Ok(Code {
            linked: Some(linked),
            range,
        })
    }
}

/// The mapped code of a module.
pub(crate) struct Code {
    /// None if it was freed.
    linked: Option<InstancePre<Data>>,
    range: Range<usize>,
}

impl Code {
    pub(crate) fn linked(&self) -> wasmtime::Result<&InstancePre<Data>> {
        self.linked
            .as_ref()
            .ok_or_else(|| wasmtime::format_err!("its code was freed"))
    }

    /// Frees it, and looks whether the kernel still lists it as code. It must not be in use.
    ///
    /// # Errors
    /// What the kernel lists.
    pub(crate) fn free(&mut self) -> Result<(), String> {
        let mut mapped = MAPPED.lock();
        drop(self.linked.take());
        if let Some(at) = mapped.iter().position(|range| *range == self.range) {
            mapped.swap_remove(at);
        }
        let maps = fs::read_to_string("/proc/self/maps").map_err(|error| format!("/proc/self/maps: {error}"))?;
        for line in maps.lines() {
            let Some(found) = executable(line).filter(|found| overlap(found, &self.range)) else {
                continue;
            };
            // The kernel gives freed addresses to others, such as to another module.
            if !mapped.iter().any(|other| overlap(other, &found)) {
                return Err(format!("the kernel still lists code where the module's was: {line}"));
            }
        }
        Ok(())
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if self.linked.is_some() {
            let _ = self.free();
        }
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The addresses of a line of the kernel's map, if they may be executed.
fn executable(line: &str) -> Option<Range<usize>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let number = |digits| usize::from_str_radix(digits, 16).ok();
    let permissions = rest.get(..4)?;
    permissions.contains('x').then_some(number(start)?..number(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_map_are_read() {
        assert_eq!(executable("7f00-7f10 r-xp 00000000 00:00 0 "), Some(0x7f00..0x7f10));
        assert_eq!(executable("7f00-7f10 rw-p 00000000 00:00 0 [heap]"), None);
        assert!(overlap(&(1..3), &(2..4)) && !overlap(&(1..2), &(2..4)));
    }
}
