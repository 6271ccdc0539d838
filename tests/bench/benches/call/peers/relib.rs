//! relib: functions of a module, with its support for unloading.

use crate::comparison::Comparison;
use call_bodies::Body;
use call_relib_host::Module;
use reslot_tests::{Fixture, Folder};

const NAME: &str = "relib";

pub struct Relib {
    module: Module,
    /// Where it was loaded from.
    _folder: Folder,
}

impl Relib {
    pub fn load() -> Self {
        let (folder, fixture) = (Folder::new(), Fixture::build("call-relib"));
        let path = folder.publish(fixture.file(), fixture.bytes());
        Self {
            module: Module::load(&path),
            _folder: folder,
        }
    }

    pub fn ways<'a>(&'a self, body: Body, comparison: &mut Comparison<'a>) {
        let way = comparison.way(NAME, move |calls| self.module.time(body, calls));
        match body {
            Body::Add => way.note("functions only: the state is the host's, lent by pointer"),
            Body::Sum => way.note("arguments must be Copy: a pointer and a length"),
            Body::Text => way
                .note("what is answered is boxed, cloned, and sent back to be freed; the module's allocations are tracked"),
            Body::Callback => way.note("a function of the host's, found at loading; no object can be lent"),
            Body::Work => {}
        }
    }

    pub fn on_threads(&self, comparison: &mut Comparison<'_>) {
        comparison.cannot(NAME, "with unloading its handle is neither Send nor Sync");
    }
}
