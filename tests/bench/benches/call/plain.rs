//! Calls without a framework: inlined, through a trait object of this program, and through a bare pointer into a loaded
//! library. The last one is the base of all ratios.

use crate::{BARE, comparison::Comparison, threads};
use call_bodies::{Body, Calls, Heard, TEXT, run, timed};
use libloading::Library;
use reslot_tests::{Fixture, Folder};
use std::{arch::asm, ffi::c_void, hint::black_box};

/// The bare functions, as the library exports them.
#[derive(Clone, Copy)]
struct Functions {
    add: unsafe extern "C" fn(*mut u64, u64) -> u64,
    work: extern "C" fn(u64) -> u64,
    sum: unsafe extern "C" fn(*const f64, usize) -> f64,
    text: unsafe extern "C" fn(*mut usize) -> *mut u8,
    free: unsafe extern "C" fn(*mut u8, usize),
    callback: unsafe extern "C" fn(Hear, *mut c_void, u64) -> u64,
}

type Hear = unsafe extern "C" fn(*mut c_void, u64) -> u64;

pub struct Plain {
    functions: Functions,
    /// Where the functions are.
    _library: Library,
}

impl Plain {
    pub fn load() -> Self {
        let (folder, fixture) = (Folder::new(), Fixture::build("fx-bench-owned"));
        let path = folder.publish("bare.so", fixture.bytes());
        // SAFETY: our own fixture; its static constructors are std's.
        let library = unsafe { Library::new(path) }.expect("the fixture opens");
        // SAFETY: the fixture defines them with these signatures (`bare.rs`), and `Plain` keeps it open.
        let functions = unsafe {
            Functions {
                add: *library.get(b"bare_add").expect("it is exported"),
                work: *library.get(b"bare_work").expect("it is exported"),
                sum: *library.get(b"bare_sum").expect("it is exported"),
                text: *library.get(b"bare_text").expect("it is exported"),
                free: *library.get(b"bare_free").expect("it is exported"),
                callback: *library.get(b"bare_callback").expect("it is exported"),
            }
        };
        Self {
            functions: black_box(functions),
            _library: library,
        }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        let mut inlined = Inlined::default();
        comparison.way("inlined", move |calls| run(body, calls, &mut inlined));
        let mut boxed: Box<dyn Calls> = black_box(Box::new(Inlined::default()));
        comparison.way("Box<dyn Trait>", move |calls| run(body, calls, &mut Boxed(&mut *boxed)));
        let functions = self.functions;
        comparison.way(BARE, move |calls| {
            run(
                body,
                calls,
                &mut Bare {
                    functions,
                    count: 0,
                    heard: Heard::default(),
                },
            )
        });
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        let add = self.functions.add;
        threads::both(comparison, BARE, move |_, calls| {
            let mut count = 0;
            // SAFETY: `count` is this caller's own.
            timed(calls, |x| unsafe { add(&raw mut count, x) })
        });
        threads::both(comparison, "Box<dyn Trait>", move |_, calls| {
            let mut boxed: Box<dyn Calls> = black_box(Box::new(Inlined::default()));
            timed(calls, |x| boxed.add(x))
        });
    }
}

#[derive(Default)]
struct Inlined {
    count: u64,
    heard: Heard,
}

/// Costs no instruction, and the compiler knows nothing of what comes out: without it there would be no loop left.
#[inline(always)]
fn opaque(mut x: u64) -> u64 {
    // SAFETY: it is empty.
    unsafe { asm!("/* {0} */", inout(reg) x, options(nomem, nostack, preserves_flags)) };
    x
}

impl Calls for Inlined {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        opaque(call_bodies::add(&mut self.count, x))
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        call_bodies::work(x)
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        call_bodies::sum(black_box(numbers))
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        black_box(TEXT.to_owned()).len()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        opaque(self.heard.hear(x))
    }
}

struct Boxed<'a>(&'a mut dyn Calls);

impl Calls for Boxed<'_> {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        self.0.add(x)
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        self.0.work(x)
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        self.0.sum(numbers)
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        self.0.text()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        self.0.callback(x)
    }
}

struct Bare {
    functions: Functions,
    count: u64,
    heard: Heard,
}

/// # Safety
/// `heard` must be a [`Heard`] that nobody else uses.
unsafe extern "C" fn hear(heard: *mut c_void, n: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { &mut *heard.cast::<Heard>() }.hear(n)
}

impl Calls for Bare {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        // SAFETY: the count is ours.
        unsafe { (self.functions.add)(&raw mut self.count, x) }
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        (self.functions.work)(x)
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        // SAFETY: the parts of a slice.
        unsafe { (self.functions.sum)(numbers.as_ptr(), numbers.len()) }
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        let mut length = 0;
        // SAFETY: it answers so many bytes of text, which are copied before they are given back.
        let text = unsafe {
            let text = (self.functions.text)(&raw mut length);
            let copy = str::from_utf8_unchecked(std::slice::from_raw_parts(text, length)).to_owned();
            (self.functions.free)(text, length);
            copy
        };
        black_box(text).len()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        // SAFETY: `hear` takes what is passed, which is ours.
        unsafe { (self.functions.callback)(hear, (&raw mut self.heard).cast(), x) }
    }
}
