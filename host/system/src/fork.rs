//! Detects a forked child of the process in which a host was built. The child has a copy of the host, but not its threads,
//! and a lock that another thread held during `fork` stays locked forever. So each public function checks this before it
//! takes a lock, waits for a thread or removes a file.
//!
//! The kernel clears one page in each forked child. Reading that page costs two loads; `getpid` would be a system call.

use std::{
    mem::forget,
    sync::{
        Arc,
        atomic::{AtomicPtr, AtomicU64, Ordering},
    },
};

/// The process in which a value was made. A forked child is another process, even if it has the same number in its own
/// namespace.
///
/// ```
/// use reslot_system::Process;
///
/// let here = Process::this();
/// assert!(!here.is_another()); // it is true in a child of `fork`
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(u64);

/// If the kernel cannot clear a page (before Linux 4.14), processes are identified by their numbers, which are below this.
const BY_NUMBER: u64 = 1 << 63;

/// The number of marks in this line of processes. A child inherits its parent's count and takes the next number.
static MARKS: AtomicU64 = AtomicU64::new(0);

/// The page with this process's mark; null before it is made.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

/// What [`PAGE`] points to if there is no such page.
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

impl Process {
    /// The calling process.
    #[inline]
    pub fn this() -> Self {
        let page = PAGE.load(Ordering::Acquire);
        if !page.is_null() && !std::ptr::eq(page, &raw const NO_PAGE) {
            // SAFETY: `marked` has mapped this page. Nobody unmaps it after its address is in `PAGE`.
            let mark = unsafe { &*page }.load(Ordering::Relaxed);
            if mark != 0 {
                return Self(mark);
            }
        }
        Self::marked()
    }

    /// Whether the caller runs in a forked child of that process.
    #[inline]
    pub fn is_another(self) -> bool {
        self != Self::this()
    }

    #[cold]
    fn marked() -> Self {
        let mut page = PAGE.load(Ordering::Acquire);
        if page.is_null() {
            let made = cleared_in_children().unwrap_or((&raw const NO_PAGE).cast_mut());
            // If two threads come here at once, one page is left unused.
            page = match PAGE.compare_exchange(page, made, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => made,
                Err(other) => other,
            };
        }
        if std::ptr::eq(page, &raw const NO_PAGE) {
            return Self(BY_NUMBER | u64::from(std::process::id()));
        }
        // SAFETY: the address is in `PAGE`, so the page is mapped and stays so.
        let page = unsafe { &*page };
        let next = MARKS.fetch_add(1, Ordering::Relaxed) + 1;
        match page.compare_exchange(0, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Self(next),
            Err(marked) => Self(marked),
        }
    }
}

fn cleared_in_children() -> Option<*mut AtomicU64> {
    /// `MADV_WIPEONFORK`, from `asm-generic/mman-common.h`.
    const CLEARED_IN_CHILDREN: libc::c_int = 18;
    const LENGTH: usize = 4096;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses the address of the new mapping, so it overlaps no other memory. It is unmapped only on an
    // error, before other code knows it.
    unsafe {
        let page = libc::mmap(std::ptr::null_mut(), LENGTH, access, kind, -1, 0);
        if page == libc::MAP_FAILED {
            return None;
        }
        if libc::madvise(page, LENGTH, CLEARED_IN_CHILDREN) != 0 {
            libc::munmap(page, LENGTH);
            return None;
        }
        Some(page.cast())
    }
}

/// For a forked child: makes sure that the value is never dropped, because its drop would wait for threads or remove files
/// of the parent.
pub fn never_dropped<T>(shared: &Arc<T>) {
    forget(shared.clone());
}

/// A value for each process. A child gets a new one, because a lock in the parent's value may be held by a thread that the
/// child does not have.
pub struct PerProcess<T: 'static> {
    made: AtomicPtr<Made<T>>,
    make: fn() -> T,
}

struct Made<T> {
    by: Process,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// A value for each process. `make` makes it at the first use.
    pub const fn new(make: fn() -> T) -> Self {
        Self {
            made: AtomicPtr::new(std::ptr::null_mut()),
            make,
        }
    }

    /// This process's value.
    pub fn get(&'static self) -> &'static T {
        let this = Process::this();
        let mut made = self.made.load(Ordering::Acquire);
        loop {
            // SAFETY: the pointer is null, or that of a box that was published below and is never freed.
            if let Some(made) = unsafe { made.as_ref() }.filter(|made| made.by == this) {
                return &made.value;
            }
            let value = (self.make)();
            let new = Box::into_raw(Box::new(Made { by: this, value }));
            match self.made.compare_exchange(made, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => made = new,
                Err(other) => {
                    // SAFETY: the box was made above and was not published, so no other code knows it.
                    drop(unsafe { Box::from_raw(new) });
                    made = other;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    static OWN: PerProcess<Mutex<u32>> = PerProcess::new(Mutex::default);

    #[test]
    fn child_is_another_process_and_begins_anew() {
        let here = Process::this();
        assert!(!here.is_another());
        // Held as by a thread that the child does not have.
        let held = OWN.get().lock();
        // SAFETY: the child calls only the functions under test, and ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let anew = here.is_another() && Process::this() == Process::this() && OWN.get().try_lock().is_some();
            // SAFETY: `_exit` ends the child without running other code of the test.
            unsafe { libc::_exit(if anew { 0 } else { 1 }) };
        }
        drop(held);
        let mut status = 0;
        // SAFETY: the child was made above, and `status` is writable.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert!(!here.is_another());
    }
}
