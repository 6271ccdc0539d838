//! Libraries that nobody here wrote: opened by explicit request only, called by C signature, closed with the same proofs as a
//! plugin, and, where they stay, with what pins them. No SDK stands between such a library and libc, so nothing that it does there
//! is undone: what could be called after it is gone is looked for, and nothing is ever forced.
//!
//! Plugins do not come through here: a `Host` refuses a library without manifest.

mod beginnings;
mod close;
mod counts;
mod held;
mod keys;
mod memory;
mod notifies;
mod objects;
mod pins;
mod threads;

pub use pins::Pin;

use crate::loaded::{self, Mapped};
use held::Held;
use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};
use notifies::Timers;
use objects::Objects;
use reslot_artifact::lint::{Foreign, LintError, examine_foreign};
use reslot_report::StageError;
use reslot_stage::{StageLimits, StagedFile, StagingFolder, is_private_copy, read_patiently, sweep};
use std::{
    marker::PhantomData,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Once,
};
use threads::Threads;

/// Whose code it is. That it has to be written out is the point: [`Library::open`] runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Somebody else's. Its static constructors run in this process and may do there whatever they like; whoever writes this
    /// answers for them, as for a dependency that is linked.
    Foreign,
}

/// Why a library could not be opened, or a function not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// It could not be read or copied.
    #[error("{0}")]
    Stage(#[from] StageError),
    /// It is damaged, or no library for this machine.
    #[error("{0}")]
    Lint(#[from] LintError),
    /// The loader's own words.
    #[error("the loader refused it: {0}")]
    Loader(String),
    /// It has no such symbol.
    #[error("it has no function {name:?}: {why}")]
    NoFunction {
        /// The name that was asked for.
        name: String,
        /// The loader's words.
        why: String,
    },
}

/// How a library is opened.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    private: Option<PathBuf>,
    keep_nodelete: bool,
}

impl Opening {
    /// In a private folder below the system's for temporary files, with NODELETE cleared.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the private folder is made.
    #[must_use]
    pub fn private_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.private = Some(base.into());
        self
    }

    /// Leaves a NODELETE mark as it is: the library then stays for good.
    #[must_use]
    pub fn keep_nodelete(mut self) -> Self {
        self.keep_nodelete = true;
        self
    }

    /// Opens a private copy of the library, for its own names only. It is looked through first, so that a truncated file is
    /// refused here and does not end the process.
    ///
    /// What it needs is found as the loader finds it for any library, but for `$ORIGIN`, which is the private folder. Those
    /// libraries stay mapped for good: nobody knows what they leave with libc.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or is no library for this machine, or if the loader refuses it.
    pub fn open(&self, path: impl AsRef<Path>, trust: Trust) -> Result<Library, ForeignError> {
        let Trust::Foreign = trust;
        let path = path.as_ref();
        let mut bytes = read_patiently(path, &StageLimits::default())?.bytes;
        let facts = examine_foreign(&mut bytes, self.keep_nodelete)?;
        let base = self.private.clone().unwrap_or_else(std::env::temp_dir);
        // What dead processes left whose libraries stayed. A leftover that cannot be removed is no reason not to open this one.
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| drop(sweep(&base)));
        let hint = path.file_stem().unwrap_or_default().to_string_lossy();
        let staged = StagingFolder::create(&base, None)?.write(&hint, &bytes)?;
        let before = Before {
            threads: Threads::now().ok(),
            objects: Objects::now(),
            timers: Timers::now().ok(),
        };
        // SAFETY: the library's static constructors run here. Nothing can be known of them; the caller has answered for them with
        // `Trust::Foreign`. That the loader reads nothing beyond the copy's end was looked into.
        let handle = unsafe { Handle::open(Some(staged.path()), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| ForeignError::Loader(words(&error)))?;
        keep_dependencies(staged.path());
        let Some(mapped) = loaded::find(staged.path()) else {
            // Never seen; without its range nothing could be proven later.
            std::mem::forget((handle, staged));
            return Err(ForeignError::Loader("it does not list what it has just opened".to_owned()));
        };
        let body = Body {
            path: path.to_owned(),
            handle: Some(handle),
            staged,
            mapped,
            facts,
            kept_nodelete: self.keep_nodelete,
            before,
        };
        Ok(Library {
            body: Some(Box::new(body)),
        })
    }
}

/// A library that nobody here wrote, mapped from a private copy. Dropping it leaves it mapped: see [`close`](Self::close).
#[derive(Debug)]
pub struct Library {
    body: Option<Box<Body>>,
}

#[derive(Debug)]
struct Body {
    path: PathBuf,
    /// Ours, as long as we have one open.
    handle: Option<Handle>,
    staged: StagedFile,
    mapped: Mapped,
    facts: Foreign,
    kept_nodelete: bool,
    before: Before,
}

/// What was there before a library was opened, and so cannot come from it; `None` where it could not be looked at.
#[derive(Debug)]
struct Before {
    threads: Option<Threads>,
    objects: Objects,
    timers: Option<Timers>,
}

/// A function of a library, for as long as that is borrowed.
#[derive(Debug)]
pub struct Function<'library, F> {
    function: F,
    library: PhantomData<&'library Library>,
}

impl<F> Deref for Function<'_, F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.function
    }
}

/// How closing ended.
#[must_use = "`Stays` says that the library is still mapped, and what keeps it"]
#[derive(Debug)]
pub enum Closed {
    /// Neither the loader's list nor the kernel's map has it any more, and the private copy is deleted.
    Unmapped,
    /// It stays, and can be tried again.
    Stays(Staying),
}

/// A library that stays mapped, with what pins it. Its functions are out of reach. Dropping it leaves it mapped for good.
#[derive(Debug)]
pub struct Staying {
    body: Option<Box<Body>>,
    pins: Vec<Pin>,
}

impl Library {
    /// Opens a library, with NODELETE cleared: see [`Opening::open`].
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub fn open(path: impl AsRef<Path>, trust: Trust) -> Result<Self, ForeignError> {
        Opening::new().open(path, trust)
    }

    /// Whether its author marked it as never to be unloaded. The mark was cleared in the copy, unless it was to be kept.
    pub fn had_nodelete(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.facts.nodelete)
    }

    /// Finds a function.
    ///
    /// ```no_run
    /// # use reslot::foreign::{Library, Trust};
    /// # use std::ffi::c_int;
    /// let library = Library::open("/opt/somebody/libsum.so", Trust::Foreign)?;
    /// // SAFETY: sum.h declares `int sum(int, int)`, it may be called on any thread, and it keeps nothing.
    /// let sum = unsafe { library.function::<unsafe extern "C" fn(c_int, c_int) -> c_int>("sum") }?;
    /// // SAFETY: as above.
    /// assert_eq!(unsafe { sum(1, 2) }, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the library has no such symbol.
    ///
    /// # Safety
    /// `F` is the function pointer type with the symbol's true signature, and the symbol is a function. The caller keeps no copy of
    /// the pointer, of another pointer into the library (statics, strings, callbacks), or of a thread inside it beyond the borrow
    /// of `self`: the compiler sees the borrow, and not the copies.
    pub unsafe fn function<F: Copy>(&self, name: &str) -> Result<Function<'_, F>, ForeignError> {
        const { assert!(size_of::<F>() == size_of::<*const ()>(), "F is a function pointer") };
        let missing = |why: String| ForeignError::NoFunction {
            name: name.to_owned(),
            why,
        };
        let body = self.body.as_ref().ok_or_else(|| missing("it is closed".to_owned()))?;
        let handle = body.handle.as_ref().ok_or_else(|| missing("it is closed".to_owned()))?;
        // SAFETY: only the symbol's address is taken.
        let symbol = unsafe { handle.get::<*const ()>(name) }.map_err(|error| missing(words(&error)))?;
        let address: *const () = *symbol;
        if address.is_null() {
            return Err(missing("its address is null".to_owned()));
        }
        // SAFETY: `F` has the size of a pointer, and is, by the caller's promise, the type of the function that is there.
        let function = unsafe { std::mem::transmute_copy::<*const (), F>(&address) };
        Ok(Function {
            function,
            library: PhantomData,
        })
    }

    /// Closes it, and proves that it is gone, or says what pins it. Refuses while a signal handler or a pthread key points into it,
    /// while a thread may be inside, and while libc may call it on a thread of libc's own: then it was not even asked to go. What
    /// could not be looked for is a refusal as well.
    pub fn close(mut self) -> Closed {
        match self.body.take() {
            Some(body) => close::close(body),
            None => Closed::Unmapped,
        }
    }
}

impl Staying {
    /// What pins it, as far as can be told.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Tries again: what pinned it may have gone.
    pub fn try_again(mut self) -> Closed {
        match self.body.take() {
            Some(body) => close::close(body),
            None => Closed::Unmapped,
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        leave(self.body.take());
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        leave(self.body.take());
    }
}

/// Leaking a library is safe, and unmapping it here, wherever that is, is not.
fn leave(body: Option<Box<Body>>) {
    if let Some(body) = body {
        tracing::debug!(library = %body.path.display(), "a foreign library was dropped without being closed; it stays mapped");
        std::mem::forget(body);
    }
}

/// What the library needs stays for good, as with plugins: whatever it has left with libc would be called after it was unmapped.
/// A private copy of ours that happens to be needed is closed by whoever opened it, with every look that there is.
fn keep_dependencies(library: &Path) {
    let needs = loaded::find_with_needs(library).map_or_else(Vec::new, |(_, needs)| needs);
    for name in needs {
        if let Some(found) = Held::open_named(&name)
            && !found.path().is_none_or(|path| is_private_copy(&path))
        {
            found.keep_for_good(&name);
        }
    }
}

fn words(error: &libloading::Error) -> String {
    match error {
        libloading::Error::DlOpen { source } | libloading::Error::DlSym { source } => source.to_string(),
        error => error.to_string(),
    }
}
