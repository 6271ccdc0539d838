//! wasmtime: a module of the same bodies, compiled by cranelift, through typed functions.

use crate::{comparison::Comparison, threads};
use call_bodies::{Body, Calls, FACTOR, Heard, STEPS, TEXT, run, timed};
use std::{cell::RefCell, hint::black_box, sync::Mutex};
use wasmtime::{Caller, Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

const NAME: &str = "wasmtime";
/// Where the caller's numbers go.
const NUMBERS_AT: usize = 1024;

pub struct Wasm {
    one: RefCell<Guest>,
    /// A store is called by one thread at a time, so each has its own.
    each: [Mutex<Guest>; 2],
}

impl Wasm {
    pub fn load() -> Self {
        let engine = Engine::default();
        let module = Module::new(&engine, text()).expect("it is a module");
        Self {
            one: RefCell::new(Guest::new(&module)),
            each: [(); 2].map(|()| Mutex::new(Guest::new(&module))),
        }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        let way = comparison.way(NAME, move |calls| run(body, calls, &mut *self.one.borrow_mut()));
        match body {
            Body::Sum => way.note("the numbers are copied into the guest's memory for each call"),
            Body::Text => way.note("copied out of the guest's memory"),
            _ => {}
        }
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        let each = &self.each;
        threads::both(comparison, NAME, move |caller, calls| {
            let mut guest = each[caller].lock().expect("nobody panicked");
            timed(calls, |x| guest.add(x))
        });
    }
}

struct Guest {
    store: Store<Heard>,
    memory: Memory,
    add: TypedFunc<u64, u64>,
    work: TypedFunc<u64, u64>,
    sum: TypedFunc<(u32, u32), f64>,
    text: TypedFunc<(), (u32, u32)>,
    callback: TypedFunc<u64, u64>,
}

impl Guest {
    fn new(module: &Module) -> Self {
        let mut linker = Linker::new(module.engine());
        linker
            .func_wrap("host", "hear", |mut caller: Caller<'_, Heard>, n: u64| {
                caller.data_mut().hear(n)
            })
            .expect("there is no other");
        let mut store = Store::new(module.engine(), Heard::default());
        let instance: Instance = linker.instantiate(&mut store, module).expect("it has what it needs");
        let missing = "the module exports it";
        Self {
            memory: instance.get_memory(&mut store, "memory").expect(missing),
            add: instance.get_typed_func(&mut store, "add").expect(missing),
            work: instance.get_typed_func(&mut store, "work").expect(missing),
            sum: instance.get_typed_func(&mut store, "sum").expect(missing),
            text: instance.get_typed_func(&mut store, "text").expect(missing),
            callback: instance.get_typed_func(&mut store, "callback").expect(missing),
            store,
        }
    }
}

const NO_TRAP: &str = "the guest does not trap";

impl Calls for Guest {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        self.add.call(&mut self.store, x).expect(NO_TRAP)
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        self.work.call(&mut self.store, x).expect(NO_TRAP)
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        let memory = self.memory.data_mut(&mut self.store);
        let places = memory[NUMBERS_AT..].chunks_exact_mut(8);
        for (place, number) in places.zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let passed = (NUMBERS_AT as u32, numbers.len() as u32);
        self.sum.call(&mut self.store, passed).expect(NO_TRAP)
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        let (at, length) = self.text.call(&mut self.store, ()).expect(NO_TRAP);
        let (at, end) = (at as usize, at as usize + length as usize);
        let text = &self.memory.data(&self.store)[at..end];
        black_box(str::from_utf8(text).expect("it is text").to_owned()).len()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        self.callback.call(&mut self.store, x).expect(NO_TRAP)
    }
}

/// The module: what a compiler makes of the bodies, by hand. The count is at 0, the text at 16.
fn text() -> String {
    let (factor, length) = (FACTOR.cast_signed(), TEXT.len());
    format!(
        r#"(module
  (import "host" "hear" (func $hear (param i64) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 16) "{TEXT}")
  (func (export "add") (param $x i64) (result i64) (local $count i64)
    (local.set $count (i64.add (i64.load (i32.const 0)) (i64.const 1)))
    (i64.store (i32.const 0) (local.get $count))
    (i64.add (local.get $x) (local.get $count)))
  (func (export "work") (param $x i64) (result i64) (local $left i32)
    (local.set $left (i32.const {STEPS}))
    (loop $again
      (local.set $x (i64.mul
        (i64.xor (local.get $x) (i64.shr_u (local.get $x) (i64.const 29)))
        (i64.const {factor})))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $x))
  (func (export "sum") (param $at i32) (param $left i32) (result f64) (local $sum f64)
    (loop $again
      (local.set $sum (f64.add (local.get $sum) (f64.load (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $sum))
  (func (export "text") (result i32 i32) (i32.const 16) (i32.const {length}))
  (func (export "callback") (param $x i64) (result i64) (call $hear (local.get $x))))"#
    )
}
