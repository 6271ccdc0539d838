//! Functions of the image that the host calls without holding an instance: they set the image's log level, and read how many bytes it has
//! allocated. They are called only while the image is mapped.

use super::{Ledger, LogForwarder};
use reslot_plugin_api::__private::ROption;

impl Ledger {
    /// Sets the forwarder of the image's logs; once, before any of its hooks is called.
    pub fn set_log_forwarder(&self, log_forwarder: LogForwarder) {
        let _ = self.log_forwarder.set(log_forwarder);
    }

    /// The forwarder of its logs, if it was set.
    pub fn log_forwarder(&self) -> Option<&LogForwarder> {
        self.log_forwarder.get()
    }

    /// Stores the image's function that sets its log level, and sets the level. To be called when the image has the host's functions.
    pub fn use_set_log_level(&self, set_log_level_fn: extern "C" fn(u8)) {
        let _ = self.set_log_level_fn.set(set_log_level_fn);
        self.set_image_log_level();
    }

    /// Sets the image's log level, if the image is verified and still mapped.
    pub fn set_image_log_level(&self) {
        let (Some(log_forwarder), Some(set_log_level_fn)) = (self.log_forwarder.get(), self.set_log_level_fn.get()) else {
            return;
        };
        // Not while the image is ending: a subscriber inside the plugin would run as plugin code.
        if self.is_ending() {
            return;
        }
        self.while_mapped(|| {
            loop {
                let level = log_forwarder.wanted_level();
                set_log_level_fn(level as u8);
                // Set it again if it has changed meanwhile: another thread may have set an older level last.
                if log_forwarder.wanted_level() == level {
                    break;
                }
            }
        });
    }

    /// Stores the image's function that returns its allocated bytes.
    pub fn use_live_bytes(&self, live_bytes_fn: extern "C" fn() -> ROption<u64>) {
        let _ = self.live_bytes_fn.set(live_bytes_fn);
    }

    /// How many bytes it has allocated; none if it does not count them, or is gone. This works without holding the instance, because a
    /// rollback must be its only holder.
    pub fn live_bytes(&self) -> Option<u64> {
        let live_bytes_fn = self.live_bytes_fn.get()?;
        self.while_mapped(|| live_bytes_fn().into_option())?
    }

    /// Keeps the image from being closed while `body` runs, as for a destructor. None if it is closed already.
    fn while_mapped<R>(&self, body: impl FnOnce() -> R) -> Option<R> {
        {
            let mut state = self.state.lock();
            if state.closed {
                return None;
            }
            state.running += 1;
        }
        let done = body();
        let mut state = self.state.lock();
        state.running -= 1;
        let watched = state.watched;
        drop(state);
        if watched {
            (self.on_release)();
        }
        Some(done)
    }
}
