//! Plugins that are linked into the program instead of loaded from a file.
//!
//! A *loaded* plugin is an image of its own, with its own copies of this crate, of std and of everything else that it uses.
//! Its code is mapped and unmapped while the program runs. So the image has an allocator, replaced libc functions, a panic
//! hook and a logger that lead to the host, and one `static` in it names the host: the image serves one slot. Its functions
//! are found through the exported symbol `reslot_root`, and everything that it has registered in the process must be removed
//! before its code is unmapped.
//!
//! A *linked* plugin is an ordinary part of the program, which is compiled and started as one. It shares all statics of the
//! program, so it brings no allocator, no symbol, no panic hook and no logger; memory, thread-locals, threads and logs are
//! the program's own. Its code is never unmapped, and there is only one build of it. Its functions are found through a
//! value, [`LinkedPlugin`], and one program may serve it in several slots, by several hosts, in several generations. So no
//! `static` can name its host: each object carries the [`Attachment`] with which it was made, and a thread that runs the
//! plugin's code records the attachment ([`Attachment::enter`]).

mod object;

pub use object::Linked;

use crate::{
    attachment::{Attachment, LinkedHost},
    exports::Functions,
    inside,
    interface::Implements,
    plugin::Loadable,
    root::RootRef,
};
use std::{fmt, sync::Arc};

/// A plugin that is linked into the program: what a program registers with its host instead of a library file.
///
/// [`export_plugin!`](crate::export_plugin) defines it as a constant with the name `PLUGIN`, if the crate is built as an
/// `rlib`:
///
/// ```toml
/// [lib]
/// crate-type = ["cdylib", "rlib"]
/// ```
///
/// It consists of two pointers to data of the program, which are valid as long as the program runs.
#[derive(Clone, Copy)]
pub struct LinkedPlugin {
    root: RootRef,
    name: &'static str,
    manifest: &'static [u8],
}

// SAFETY: the root points to constant data of the program: functions, which say themselves from where they may be called.
unsafe impl Send for LinkedPlugin {}
// SAFETY: as above.
unsafe impl Sync for LinkedPlugin {}

impl LinkedPlugin {
    /// The plugin `T` for the interface `I`.
    #[doc(hidden)]
    pub const fn new<T: Loadable, I: ?Sized + Implements<T>>() -> Self {
        Self {
            root: Functions::<T, I, Linked<T>>::ROOT,
            name: T::NAME,
            manifest: T::MANIFEST,
        }
    }

    /// The plugin's name, which is the name of its slot unless the program chooses another one.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The plugin's manifest: the JSON text that a library file has in its section `.reslot.manifest`.
    pub fn manifest(&self) -> &'static [u8] {
        self.manifest
    }

    /// Attaches the plugin to a host. A host may attach it several times. Objects that are made through the result use the
    /// services of this host.
    ///
    /// The first call in a process installs a panic hook before the program's own: it reports the place of a linked plugin's
    /// panic to the host, and then calls the program's hook.
    #[doc(hidden)]
    pub fn attach(self, host: Arc<dyn LinkedHost>) -> LinkedImage {
        inside::put_hook_in_front();
        LinkedImage {
            plugin: self,
            attachment: Attachment::new(host),
        }
    }
}

impl fmt::Debug for LinkedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkedPlugin")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A linked plugin that is attached to a host. It corresponds to the image of a loaded plugin, but dropping it unmaps
/// nothing.
#[derive(Debug)]
pub struct LinkedImage {
    plugin: LinkedPlugin,
    attachment: Attachment,
}

impl LinkedImage {
    /// The plugin.
    pub fn plugin(&self) -> LinkedPlugin {
        self.plugin
    }

    /// Calls functions of the plugin's root, on behalf of this attachment.
    ///
    /// `create`, `migrate`, `check_config` and `end_workers` (with their younger variants) must be called in here, because
    /// they get no object that knows its attachment. All other functions may be called in here. The rest is as with a loaded
    /// plugin, except that `initialise`, `set_log_level` and `shutdown` do nothing, `live_bytes` returns none, and `remains`
    /// returns null.
    pub fn within<R>(&self, body: impl FnOnce(RootRef) -> R) -> R {
        let _entered = self.attachment.enter();
        body(self.plugin.root)
    }

    /// Whether [`LinkedHost::enter`] and [`leave`](LinkedHost::leave) are called around each call of the interface as well.
    /// The default is no, because a call takes about two nanoseconds and entering a span about twenty.
    pub fn mark_calls(&self, marked: bool) {
        self.attachment.mark_calls(marked);
    }
}
