//! abi_stable: a trait object from a root module that is loaded once, with its check of the layouts.

use crate::{comparison::Comparison, threads};
use abi_stable::{
    RMut,
    library::RootModule,
    sabi_trait::TD_Opaque,
    std_types::{RBox, RSlice},
};
use call_abi_shared::{Bodies_TO, Hears, Hears_TO, Root_Ref};
use call_bodies::{Body, Calls, Heard, run, timed};
use reslot_tests::{Fixture, Folder};
use std::{cell::RefCell, hint::black_box};

const NAME: &str = "abi_stable trait object";

type Object = Bodies_TO<'static, RBox<()>>;

pub struct Abi {
    one: RefCell<Caller>,
    shared: Object,
}

impl Abi {
    pub fn load() -> Self {
        let (folder, fixture) = (Folder::new(), Fixture::build("call-abi"));
        folder.publish(fixture.file(), fixture.bytes());
        let root = Root_Ref::load_from_directory(folder.path()).expect("abi_stable loads it");
        Self {
            one: RefCell::new(Caller {
                object: root.make()(),
                ear: Ear::default(),
            }),
            shared: root.make()(),
        }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        comparison
            .way(NAME, move |calls| run(body, calls, &mut *self.one.borrow_mut()))
            .note("aborts on a panic, and is never unloaded");
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        let object = &self.shared;
        threads::both(comparison, NAME, move |_, calls| {
            let mut count = 0;
            timed(calls, |x| object.lent(&mut count, x))
        });
    }
}

struct Caller {
    object: Object,
    ear: Ear,
}

#[derive(Default)]
struct Ear(Heard);

impl Hears for Ear {
    fn hear(&mut self, n: u64) -> u64 {
        self.0.hear(n)
    }
}

impl Calls for Caller {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        self.object.add(x)
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        self.object.work(x)
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        self.object.sum(RSlice::from_slice(numbers))
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        black_box(self.object.text()).len()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        let ear = Hears_TO::from_ptr(RMut::new(&mut self.ear), TD_Opaque);
        self.object.callback(ear, x)
    }
}
