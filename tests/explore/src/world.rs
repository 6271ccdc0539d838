//! What the artifacts of an execution are, and what has become of the images that were made of them.

use reslot_sync::thread;
use serde::{Deserialize, Serialize};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// Where a build misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In `Default`.
    Create,
    /// While the state is encoded.
    Snapshot,
    /// While a state is decoded.
    Restore,
    /// In `init`.
    Init,
    /// In `start`.
    Start,
    /// In `stop`.
    Stop,
    /// In `health`.
    Health,
    /// In each call of `add`.
    Call,
}

/// What it does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It returns an error.
    Refuses,
    /// It panics.
    Panics,
    /// It sleeps for longer than any deadline, and goes on then.
    Hangs,
}

/// How long that is.
pub const HANGS: Duration = Duration::from_secs(600);

/// How a build behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// What its `version` answers.
    pub version: u64,
    /// Its fault, if it has one.
    pub fault: Option<(Place, Fault)>,
    /// How often the engine cannot close its image.
    pub stays: usize,
    /// Whether the opened image is not the artifact that was linted.
    pub lies: bool,
}

/// What is known of one image.
#[derive(Debug)]
pub struct ImageState {
    /// How the build behaves.
    pub script: Script,
    /// The slot.
    pub slot: Arc<str>,
    /// The generation.
    pub generation: u64,
    /// It has not been closed.
    pub mapped: AtomicBool,
    /// How many objects were made and not destroyed.
    pub objects: AtomicUsize,
    /// How often closing it was refused.
    pub stayed: AtomicUsize,
    /// The [moment] at which a state of it was encoded last; 0 if none was.
    pub encoded: AtomicUsize,
}

/// What is known of one object.
#[derive(Debug, Default)]
pub struct ObjectState {
    /// It was destroyed. Its memory stays.
    pub destroyed: AtomicBool,
    /// The thread whose hook has the object mutably; 0 if there is none.
    pub exclusive: AtomicUsize,
    /// How many calls and hooks run in it.
    pub inside: AtomicUsize,
    /// Whether it was started and not stopped.
    pub started: AtomicBool,
}

/// The image and the object whose code runs.
#[derive(Debug, Clone)]
pub struct Here {
    /// The image.
    pub image: Arc<ImageState>,
    /// The object.
    pub object: Arc<ObjectState>,
}

reslot_sync::thread_local! {
    /// Set around each hook, so that what the hook makes knows where it is.
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
    /// This thread only calls: see [`only_calls`].
    static ONLY_CALLS: Cell<bool> = const { Cell::new(false) };
}

std::thread_local! {
    /// All images of this execution.
    static IMAGES: RefCell<Vec<Arc<ImageState>>> = const { RefCell::new(Vec::new()) };
    static MOMENTS: Cell<usize> = const { Cell::new(0) };
    /// What [`on_start`] was given.
    static ON_START: RefCell<Option<Rc<OnStart>>> = const { RefCell::new(None) };
}

type OnStart = dyn Fn(&ImageState);

/// A new execution.
pub fn begin() {
    IMAGES.take();
    MOMENTS.set(0);
    ON_START.take();
    crate::engine::begin();
    crate::artifacts::begin();
}

/// All images of this execution, in the order in which they were opened.
pub fn images() -> Vec<Arc<ImageState>> {
    IMAGES.with_borrow(Clone::clone)
}

/// A number that is higher with each call in this execution: it says what was first.
pub fn moment() -> usize {
    MOMENTS.set(MOMENTS.get() + 1);
    MOMENTS.get()
}

/// Calls this function in each `start` hook of this execution, on the hook's thread.
pub fn on_start(function: impl Fn(&ImageState) + 'static) {
    ON_START.set(Some(Rc::new(function)));
}

/// The calling thread is one that only calls from now on: the execution fails if a hook runs on it.
pub fn only_calls() {
    ONLY_CALLS.set(true);
}

/// How many images are mapped.
pub fn mapped() -> usize {
    IMAGES.with_borrow(|images| images.iter().filter(|image| image.mapped.load(Relaxed)).count())
}

/// How the newest mapped image of this slot behaves.
pub fn serving(slot: &str) -> Option<Script> {
    let of_slot = |image: &&Arc<ImageState>| &*image.slot == slot && image.mapped.load(Relaxed);
    IMAGES.with_borrow(|images| images.iter().rev().find(of_slot).map(|image| image.script.clone()))
}

impl ImageState {
    /// A mapped image, which is added to [`images`].
    pub fn new(script: Script, slot: Arc<str>, generation: u64) -> Arc<Self> {
        let image = Arc::new(Self {
            script,
            slot,
            generation,
            mapped: AtomicBool::new(true),
            objects: AtomicUsize::new(0),
            stayed: AtomicUsize::new(0),
            encoded: AtomicUsize::new(0),
        });
        IMAGES.with_borrow_mut(|images| images.push(image.clone()));
        image
    }
}

impl Here {
    /// Where the calling thread is.
    pub fn now() -> Self {
        HERE.with_borrow(Clone::clone)
            .unwrap_or_else(|| panic!("code of a plugin runs outside of its hooks and calls"))
    }

    /// Runs a hook of this object.
    pub fn within<R>(&self, hook: impl FnOnce() -> R) -> R {
        if ONLY_CALLS.get() {
            reslot_sync::fail("a hook runs on a thread that only calls");
        }
        let before = HERE.replace(Some(self.clone()));
        let inside = self.enter();
        let answer = hook();
        drop(inside);
        HERE.replace(before);
        answer
    }

    /// Code of the image begins to run here.
    pub fn enter(&self) -> Inside<'_> {
        self.check();
        let exclusive = self.object.exclusive.load(Relaxed);
        if exclusive != 0 && exclusive != reslot_sync::thread_number() {
            reslot_sync::fail("a call or a hook begins to run in an object while a hook has it mutably");
        }
        self.object.inside.fetch_add(1, Relaxed);
        thread::yield_now();
        Inside(self)
    }

    /// Fails the execution if this code is gone: the invariant "no call reaches code that is gone".
    fn check(&self) {
        let Self { image, object } = self;
        let gone = !image.mapped.load(Relaxed) || object.destroyed.load(Relaxed);
        if gone && !std::thread::panicking() {
            gone_code(&image.slot, image.generation);
        }
    }

    /// Misbehaves, if the script says so for this place.
    pub fn act(&self, place: Place) -> Result<(), String> {
        let on_start = ON_START.with_borrow(Clone::clone).filter(|_| place == Place::Start);
        if let Some(on_start) = on_start {
            on_start(&self.image);
        }
        match self.image.script.fault {
            Some((at, fault)) if at == place => match fault {
                Fault::Refuses => Err(format!("it refuses ({place:?})")),
                Fault::Panics => panic!("it panics ({place:?})"),
                Fault::Hangs => {
                    thread::sleep(HANGS);
                    Ok(())
                }
            },
            _ => Ok(()),
        }
    }
}

/// Not a panic, which a host would contain.
fn gone_code(slot: &str, generation: u64) {
    reslot_sync::fail(&format!(
        "no call reaches code that is gone: generation {generation} of {slot} runs, and is gone"
    ));
}

/// Code of an image runs, until dropped.
pub struct Inside<'a>(&'a Here);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            thread::yield_now();
        }
        self.0.check();
        self.0.object.inside.fetch_sub(1, Relaxed);
    }
}
