//! The host of the linked plugin whose code the calling thread runs.
//!
//! # Why that is sound
//! `CURRENT` is null, or points to a living attachment. Only [`Attachment::enter`] sets it, and borrows the attachment until
//! the former pointer is restored. While the host is notified it is null. The guards stay on their thread and are dropped in reverse order, because they are locals
//! of functions of this crate. So the former attachment is still alive when its pointer is restored.

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

#[cfg(reslot_explore)]
use reslot_sync::thread_local;

thread_local! {
    /// It has no destructor, so it can be read until the end of the thread.
    static CURRENT: Cell<*const Attached> = const { Cell::new(ptr::null()) };
}

/// A host, as one attached plugin sees it.
///
/// These values keep it alive: the [`LinkedImage`](crate::linked::LinkedImage), objects that were made through that, threads
/// of [`Context::spawn`](crate::Context::spawn), and every [`Peer`](crate::Peer), which a plugin may keep in a `static`
/// forever.
///
/// # Safety
/// As long as the value lives, the functions of `table` may be called with `token`, from any thread. Both are always the same.
pub unsafe trait LinkedHost: Send + Sync + 'static {
    /// The host's functions. A linked plugin calls only `panicked`, `contained` and the functions for peers, not those that
    /// replace libc's functions, and not those for logs.
    fn table(&self) -> HostTableRef;

    /// The host's token for this attachment, which the functions of the table need.
    fn token(&self) -> *const ();

    /// A thread of `Context::spawn` will be started. Returns the thread's number, or none if no thread may start any more.
    fn thread_starts(&self) -> Option<u64> {
        Some(0)
    }

    /// That thread runs. Called on it, before the plugin's code.
    fn thread_runs(&self, number: u64) {
        let _ = number;
    }

    /// That thread has left the plugin's code finally, or was never started; `end_workers` does not name it any more. It is
    /// called once for each number.
    fn thread_ended(&self, number: u64) {
        let _ = number;
    }

    /// The calling thread enters the plugin's code: for each hook and each thread of `Context::spawn`, and for each call if
    /// [`LinkedImage::mark_calls`](crate::linked::LinkedImage::mark_calls) asks for it. A host can enter a span here that
    /// gives the plugin's logs the slot's name. A panic is caught and ignored.
    fn enter(&self) {}

    /// The calling thread leaves the plugin's code. It is called on the same thread, in reverse order.
    fn leave(&self) {}
}

/// A plugin's connection to its host. It keeps the host's side alive.
#[derive(Clone)]
pub(crate) struct Attachment(Arc<Attached>);

struct Attached {
    services: Services,
    marks_calls: AtomicBool,
    host: Arc<dyn LinkedHost>,
}

/// The host's functions, and the token that identifies the caller.
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

    /// Valid as long as this attachment.
    #[inline(always)]
    pub(crate) fn services(&self) -> Services {
        self.0.services
    }

    pub(crate) fn host(&self) -> &dyn LinkedHost {
        &*self.0.host
    }

    /// A number that distinguishes the threads of different attachments.
    pub(crate) fn number(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn mark_calls(&self, marked: bool) {
        self.0.marks_calls.store(marked, Relaxed);
    }

    /// The calling thread runs code of this plugin until the guard is dropped. It is for everything except calls.
    pub(crate) fn enter(&self) -> Entered<'_> {
        Entered::begin(self, |_| true)
    }

    /// The same for a call of the interface, where speed matters.
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
    /// The host to notify when this is dropped.
    notified: Option<&'a Attached>,
    /// It stays on its thread.
    thread: PhantomData<*const ()>,
}

impl<'a> Entered<'a> {
    #[inline(always)]
    fn begin(attachment: &'a Attachment, is_notified: impl FnOnce(&Attached) -> bool) -> Self {
        let attached = &*attachment.0;
        // If the thread already runs the same plugin's code, the host is not notified again.
        let notified = (is_notified(attached) && !ptr::eq(CURRENT.get(), attached)).then_some(attached);
        if let Some(attached) = notified {
            attached.notify(|host| host.enter());
        }
        // The pointer comes from the `Arc`, so that the `Arc` can be cloned through it.
        let before = CURRENT.replace(Arc::as_ptr(&attachment.0));
        Self {
            before,
            notified,
            thread: PhantomData,
        }
    }
}

impl Drop for Entered<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        CURRENT.set(self.before);
        if let Some(attached) = self.notified {
            attached.notify(|host| host.leave());
        }
    }
}

impl Attached {
    /// The host may call the program's subscriber, which may panic. This must not count as a panic of a plugin, so meanwhile the
    /// thread runs no plugin's code, and must not end the program.
    #[cold]
    fn notify(&self, of: impl FnOnce(&dyn LinkedHost)) {
        let current = CURRENT.replace(ptr::null());
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| of(&*self.host))) {
            discard(payload);
        }
        CURRENT.set(current);
    }
}

/// The host of the linked plugin whose code the calling thread runs; none if it runs no such code. Valid until the thread
/// leaves that code.
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
