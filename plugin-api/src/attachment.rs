//! Which host serves the code of a linked plugin that the calling thread runs.
//!
//! # Why that is sound
//! `CURRENT` is null, or points to an attachment that is alive: it is set by [`Attachment::enter`] alone, which borrows the attachment for
//! as long as the pointer stands there, and what stood there before comes back when that borrow ends. The guards stay on their thread and
//! are dropped in reverse order, because they are locals of functions of this crate. So what stood there before is alive then, too.

use crate::{panic_payload::discard, root::HostTableRef};
use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

thread_local! {
    /// Without a destructor, so that it can be read until the thread's very end.
    static CURRENT: Cell<*const Attached> = const { Cell::new(ptr::null()) };
}

/// A host, as one attached plugin sees it.
///
/// It lives as long as anything needs it: the [`LinkedImage`](crate::linked::LinkedImage), objects that were made through that, threads of
/// [`Context::spawn`](crate::Context::spawn), and every [`Peer`](crate::Peer), which a plugin may keep in a `static` for ever.
///
/// # Safety
/// As long as the value lives, the functions of `table` may be called with `token`, from any thread. Both are always the same.
pub unsafe trait LinkedHost: Send + Sync + 'static {
    /// The host's functions. Of these a linked plugin calls `panicked`, `contained` and those for peers; it never calls those that stand in
    /// for libc's, nor those for logs.
    fn table(&self) -> HostTableRef;

    /// The host's name for this attachment, to be handed to the functions of the table.
    fn token(&self) -> *const ();

    /// A thread of `Context::spawn` is about to be started. Answers the thread's number, or nothing if no thread may start any more.
    fn thread_starts(&self) -> Option<u64> {
        Some(0)
    }

    /// That thread runs. Called on it, before the plugin's code.
    fn thread_runs(&self, number: u64) {
        let _ = number;
    }

    /// That thread has left the plugin's code for good, or was never started; `end_workers` does not name it any more. Called once for each
    /// number.
    fn thread_ended(&self, number: u64) {
        let _ = number;
    }

    /// The calling thread goes into the plugin's code: with each hook and each thread of `Context::spawn`, and with each call if
    /// [`LinkedImage::mark_calls`](crate::linked::LinkedImage::mark_calls) says so. A host enters the span here that gives the plugin's logs the name of its slot. A panic is
    /// contained and ignored.
    fn enter(&self) {}

    /// The calling thread comes out again. Called on the same thread, in reverse order.
    fn leave(&self) {}
}

/// A plugin's way to the host that it is attached to. It keeps the host's side alive.
#[derive(Clone)]
pub(crate) struct Attachment(Arc<Attached>);

struct Attached {
    services: Services,
    marks_calls: AtomicBool,
    host: Arc<dyn LinkedHost>,
}

/// The host's functions, and the name under which they know who calls them.
#[derive(Clone, Copy)]
pub(crate) struct Services {
    pub(crate) table: HostTableRef,
    pub(crate) token: *const (),
}

// SAFETY: the token is a number to this side, and the host may be handed it from any thread, by the contract of `LinkedHost` for linked
// plugins and of `initialise` for loaded ones.
unsafe impl Send for Services {}
// SAFETY: as above.
unsafe impl Sync for Services {}

impl Attachment {
    pub(crate) fn new(host: Arc<dyn LinkedHost>) -> Self {
        let services = Services {
            table: host.table(),
            token: host.token(),
        };
        Self(Arc::new(Attached {
            services,
            marks_calls: AtomicBool::new(false),
            host,
        }))
    }

    /// Good as long as this attachment.
    #[inline(always)]
    pub(crate) fn services(&self) -> Services {
        self.0.services
    }

    pub(crate) fn host(&self) -> &dyn LinkedHost {
        &*self.0.host
    }

    /// By which the threads of one attachment are told from those of another.
    pub(crate) fn number(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn mark_calls(&self, marked: bool) {
        self.0.marks_calls.store(marked, Relaxed);
    }

    /// The calling thread runs code of this plugin until the guard is dropped. For everything but calls.
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered::begin(self, |_| true)
    }

    /// The same for a call of the interface, where each nanosecond counts.
    #[inline(always)]
    pub(crate) fn enter_call(&self) -> Entered<'_> {
        Entered::begin(self, |attached| attached.marks_calls.load(Relaxed))
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Attachment").field(&self.0.services.token).finish()
    }
}

/// The calling thread runs code of a linked plugin, until this is dropped.
pub(crate) struct Entered<'a> {
    before: *const Attached,
    /// Whom to tell of the end.
    told: Option<&'a Attached>,
    /// It stays on its thread.
    thread: PhantomData<*const ()>,
}

impl<'a> Entered<'a> {
    #[inline(always)]
    fn begin(attachment: &'a Attachment, is_told: impl FnOnce(&Attached) -> bool) -> Self {
        let attached = &*attachment.0;
        // By the `Arc`, so that it may be counted once more through this pointer.
        let before = CURRENT.replace(Arc::as_ptr(&attachment.0));
        // Who comes from the same plugin's code is not told twice.
        let told = (is_told(attached) && !ptr::eq(before, attached)).then_some(attached);
        if let Some(attached) = told {
            attached.tell(|host| host.enter());
        }
        Self {
            before,
            told,
            thread: PhantomData,
        }
    }
}

impl Drop for Entered<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        CURRENT.set(self.before);
        if let Some(attached) = self.told {
            attached.tell(|host| host.leave());
        }
    }
}

impl Attached {
    /// The host calls the program's subscriber, which may panic. That is no panic of the plugin's, and must not end the program.
    #[cold]
    fn tell(&self, of: impl FnOnce(&dyn LinkedHost)) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| of(&*self.host))) {
            discard(payload);
        }
    }
}

/// The host of the linked plugin whose code the calling thread runs; none if it runs no such code. Good until that code is left.
pub(crate) fn current_services() -> Option<Services> {
    // SAFETY: see the module.
    unsafe { CURRENT.get().as_ref() }.map(|attached| attached.services)
}

/// The same with the whole attachment.
pub(crate) fn with_current<R>(body: impl FnOnce(Option<&Attachment>) -> R) -> R {
    let current = CURRENT.get();
    if current.is_null() {
        return body(None);
    }
    // SAFETY: the pointer is that of a living `Arc`, see the module.
    let attachment = unsafe {
        Arc::increment_strong_count(current);
        Attachment(Arc::from_raw(current))
    };
    body(Some(&attachment))
}
