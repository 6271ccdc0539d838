//! hot-lib-reloader: functions of a `dylib`, through the wrappers that it generates. Its watch runs, as it does by default.

use crate::{comparison::Comparison, threads};
use call_bodies::{Body, Calls, Heard, run, timed};
use reslot_tests::{Fixture, Folder};
use std::{hint::black_box, path::PathBuf, sync::OnceLock};

const NAME: &str = "hot-lib-reloader";

/// Where the library lies.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

fn folder() -> PathBuf {
    FOLDER.get().expect("it was published").clone()
}

#[hot_lib_reloader::hot_module(dylib = "call_hot", lib_dir = super::folder())]
#[allow(static_mut_refs, reason = "generated")]
mod library {
    hot_functions_from_file!("tests/bench/peers/call-hot/src/lib.rs");
}

pub struct Hot {
    /// Watched for as long as this runs.
    _folder: Folder,
}

impl Hot {
    pub fn load() -> Self {
        let (folder, fixture) = (Folder::new(), Fixture::build("call-hot"));
        folder.publish(fixture.file(), fixture.bytes());
        FOLDER.get_or_init(|| folder.path().to_owned());
        Self { _folder: folder }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        let mut caller = Caller::default();
        comparison.way(NAME, move |calls| run(body, calls, &mut caller));
    }

    pub fn on_threads<'a>(&'a self, comparison: &mut Comparison<'a>) {
        threads::both(comparison, NAME, move |_, calls| {
            let mut caller = Caller::default();
            timed(calls, |x| caller.add(x))
        });
    }
}

#[derive(Default)]
struct Caller {
    count: u64,
    heard: Heard,
}

impl Calls for Caller {
    #[inline(always)]
    fn add(&mut self, x: u64) -> u64 {
        library::hot_add(&mut self.count, x)
    }

    #[inline(always)]
    fn work(&mut self, x: u64) -> u64 {
        library::hot_work(x)
    }

    #[inline(always)]
    fn sum(&mut self, numbers: &[f64]) -> f64 {
        library::hot_sum(numbers)
    }

    #[inline(always)]
    fn text(&mut self) -> usize {
        black_box(library::hot_text()).len()
    }

    #[inline(always)]
    fn callback(&mut self, x: u64) -> u64 {
        library::hot_callback(&mut |n| self.heard.hear(n), x)
    }
}
