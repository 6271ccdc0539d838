//! Foreign libraries: shared libraries that were not built with the plugin SDK. They are opened by explicit request only, called by
//! C signature, and closed with the same proofs as a plugin. If one stays mapped, the caller learns what pins it. No SDK stands
//! between such a library and libc, so nothing that it registered there can be undone: `close` looks for everything that could
//! still call into the library, and leaves it mapped if it finds anything.
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

/// Whose code it is. The caller has to write this out because [`Library::open`] runs that code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Foreign code. Its static constructors run in this process without restriction. The author of this line vouches for them, as
    /// for a linked dependency.
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
    /// The loader refused it; the text is that of `dlerror`.
    #[error("the loader refused it: {0}")]
    Loader(String),
    /// It has no such symbol.
    #[error("it has no function {name:?}: {why}")]
    NoFunction {
        /// The requested name.
        name: String,
        /// The text of `dlerror`.
        why: String,
    },
}

/// How a library is opened.
///
/// ```
/// use reslot::foreign::{Closed, Opening, Trust};
///
/// # let maps = std::fs::read_to_string("/proc/self/maps")?;
/// # let libc = maps.lines().find_map(|line| line.split_whitespace().nth(5).filter(|path| path.contains("/libc.so")));
/// # let path = std::path::Path::new(libc.expect("libc is mapped")).with_file_name("libm.so.6");
/// # let folder = tempfile::tempdir()?;
/// let library = Opening::new().private_base(folder.path()).open(&path, Trust::Foreign)?;
/// assert!(!library.had_nodelete());
/// assert!(matches!(library.close(), Closed::Unmapped));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Opening {
    private: Option<PathBuf>,
    keep_nodelete: bool,
}

impl Opening {
    /// The defaults: the private folder is made below the system's folder for temporary files, and the NODELETE mark is cleared.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the folder in which the private folder is made.
    #[must_use]
    pub fn private_base(mut self, base: impl Into<PathBuf>) -> Self {
        self.private = Some(base.into());
        self
    }

    /// Leaves a NODELETE mark as it is: the library then stays mapped until the process ends.
    #[must_use]
    pub fn keep_nodelete(mut self) -> Self {
        self.keep_nodelete = true;
        self
    }

    /// Opens a private copy of the library with `RTLD_LOCAL`, so other libraries do not see its symbols. The file is examined
    /// first: a truncated one is refused here and does not crash the process.
    ///
    /// The loader finds the library's dependencies as usual, except that `$ORIGIN` is the private folder. The dependencies stay
    /// mapped until the process ends, because nobody knows what they register with libc.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or is no library for this machine, or if the loader refuses it.
    pub fn open(&self, path: impl AsRef<Path>, trust: Trust) -> Result<Library, ForeignError> {
        let Trust::Foreign = trust;
        let path = path.as_ref();
        let mut bytes = read_patiently(path, &StageLimits::default())?.bytes;
        let facts = examine_foreign(&mut bytes, self.keep_nodelete)?;
        let base = self.private.clone().unwrap_or_else(std::env::temp_dir);
        // Remove the copies that dead processes left. If one cannot be removed, this library can still be opened.
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| drop(sweep(&base)));
        let hint = path.file_stem().unwrap_or_default().to_string_lossy();
        let staged = StagingFolder::create(&base, None)?.write(&hint, &bytes)?;
        let before = Before {
            threads: Threads::now().ok(),
            objects: Objects::now(),
            timers: Timers::now().ok(),
        };
        // SAFETY: the library's static constructors run here. Nothing is known about them; the caller has vouched for them with
        // `Trust::Foreign`. `examine_foreign` has checked that the loader reads nothing beyond the end of the copy.
        let handle = unsafe { Handle::open(Some(staged.path()), RTLD_NOW | RTLD_LOCAL) }
            .map_err(|error| ForeignError::Loader(words(&error)))?;
        keep_dependencies(staged.path());
        let Some(mapped) = loaded::find(staged.path()) else {
            // This should not happen. Without the address range no proof is possible later, so the library stays open.
            std::mem::forget((handle, staged));
            return Err(ForeignError::Loader(
                "it does not list the library that it has just opened".to_owned(),
            ));
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

/// A foreign library, mapped from a private copy. Dropping this leaves the library mapped: see [`close`](Self::close).
///
/// ```
/// use reslot::foreign::{Closed, Library, Trust};
///
/// # let maps = std::fs::read_to_string("/proc/self/maps")?;
/// # let libc = maps.lines().find_map(|line| line.split_whitespace().nth(5).filter(|path| path.contains("/libc.so")));
/// # let path = std::path::Path::new(libc.expect("libc is mapped")).with_file_name("libm.so.6");
/// let library = Library::open(&path, Trust::Foreign)?;
/// {
///     // SAFETY: math.h declares `double cos(double)`, it may be called on any thread, and it keeps nothing.
///     let cos = unsafe { library.function::<unsafe extern "C" fn(f64) -> f64>("cos") }?;
///     // SAFETY: as above.
///     assert_eq!(unsafe { cos(0.0) }, 1.0);
/// }
/// assert!(matches!(library.close(), Closed::Unmapped));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Library {
    body: Option<Box<Body>>,
}

#[derive(Debug)]
struct Body {
    path: PathBuf,
    /// Our handle. `None` after `dlclose`, also if the loader has kept the library.
    handle: Option<Handle>,
    staged: StagedFile,
    mapped: Mapped,
    facts: Foreign,
    kept_nodelete: bool,
    before: Before,
}

/// The threads, objects and timers that existed before a library was opened, and so cannot come from it. `None`: the list could not
/// be read.
#[derive(Debug)]
struct Before {
    threads: Option<Threads>,
    objects: Objects,
    timers: Option<Timers>,
}

/// A function of a library. It borrows the library, so it cannot be called after `close`.
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
#[must_use = "`Stays` says that the library is still mapped, and why"]
#[derive(Debug)]
pub enum Closed {
    /// Neither the loader's list nor the kernel's map contains it, and the private copy is deleted.
    Unmapped,
    /// It is still mapped. Closing can be tried again.
    Stays(Staying),
}

/// A library that stays mapped, and its pins. Its functions cannot be called any more. Dropping this leaves the library mapped
/// until the process ends.
///
/// ```
/// use reslot::foreign::{Closed, Library, Trust};
///
/// # let maps = std::fs::read_to_string("/proc/self/maps")?;
/// # let libc = maps.lines().find_map(|line| line.split_whitespace().nth(5).filter(|path| path.contains("/libc.so")));
/// # let path = std::path::Path::new(libc.expect("libc is mapped")).with_file_name("libm.so.6");
/// let library = Library::open(&path, Trust::Foreign)?;
/// match library.close() {
///     Closed::Unmapped => println!("it is gone"),
///     Closed::Stays(staying) => {
///         for pin in staying.pins() {
///             eprintln!("{pin}");
///         }
///         // End what pins it, and then: staying.try_again()
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// Whether its file is marked NODELETE (never to be unloaded). The mark was cleared in the copy, unless
    /// [`Opening::keep_nodelete`] was set.
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
    /// `F` is the function pointer type with the symbol's true signature, and the symbol is a function. When the borrow of `self`
    /// ends, the caller has no copy of the function pointer, no other pointer into the library (statics, strings, callbacks), and
    /// no thread inside it. The compiler checks the borrow, but not these copies.
    pub unsafe fn function<F: Copy>(&self, name: &str) -> Result<Function<'_, F>, ForeignError> {
        const { assert!(size_of::<F>() == size_of::<*const ()>(), "F is a function pointer") };
        let missing = |why: String| ForeignError::NoFunction {
            name: name.to_owned(),
            why,
        };
        let body = self.body.as_ref().ok_or_else(|| missing("it is closed".to_owned()))?;
        let handle = body.handle.as_ref().ok_or_else(|| missing("it is closed".to_owned()))?;
        // SAFETY: only the symbol's address is read, and nothing is called or dereferenced.
        let symbol = unsafe { handle.get::<*const ()>(name) }.map_err(|error| missing(words(&error)))?;
        let address: *const () = *symbol;
        if address.is_null() {
            return Err(missing("its address is null".to_owned()));
        }
        // SAFETY: `F` has the size of a pointer (asserted above). The caller promises that it is the type of this function.
        let function = unsafe { std::mem::transmute_copy::<*const (), F>(&address) };
        Ok(Function {
            function,
            library: PhantomData,
        })
    }

    /// Closes it and proves that it is unmapped, or answers what pins it. `dlclose` is not even called while a signal handler or a
    /// pthread key points into it, while a thread may be inside, while libc may call it on one of libc's own threads, or if one of
    /// these checks could not be made.
    pub fn close(mut self) -> Closed {
        match self.body.take() {
            Some(body) => close::close(body),
            None => Closed::Unmapped,
        }
    }
}

impl Staying {
    /// The reasons why it stays mapped, as far as they can be found out.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Tries to close it again, after a pin may have ended.
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

/// Leaks the library. That is safe; unmapping it on an arbitrary thread, wherever it happens to be dropped, is not.
fn leave(body: Option<Box<Body>>) {
    if let Some(body) = body {
        tracing::debug!(library = %body.path.display(), "a foreign library was dropped without being closed; it stays mapped");
        std::mem::forget(body);
    }
}

/// Keeps the library's dependencies mapped until the process ends, as with plugins: libc could call the functions that they have
/// registered there. Our own private copies are not pinned, even if the library needs one: their owner closes them with all checks.
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
