//! What an image is told and asked by threads that hold nothing of it, and only while it is mapped: how much it is to log, and how much it has
//! allocated.

use super::{ImageResources, LogForwarder};
use reslot_plugin_api::__private::ROption;

impl ImageResources {
    /// Tells how what the image logs is told of; once, before any of its hooks is called.
    pub fn set_log_forwarder(&self, log_forwarder: LogForwarder) {
        let _ = self.log_forwarder.set(log_forwarder);
    }

    /// What forwards its logs, if it was set.
    pub fn log_forwarder(&self) -> Option<&LogForwarder> {
        self.log_forwarder.get()
    }

    /// The image is mapped and has the host's functions: from here on it can be told how much it is to log, and is.
    pub fn hears_with(&self, hears: extern "C" fn(u8)) {
        let _ = self.hears.set(hears);
        self.set_image_log_level();
    }

    /// Tells the image how much it is to log, if it can be told and is still there.
    pub fn set_image_log_level(&self) {
        let (Some(log_forwarder), Some(hears)) = (self.log_forwarder.get(), self.hears.get()) else {
            return;
        };
        // No code of the plugin's comes again once it is ending, and a subscriber of its own would be.
        if self.is_ending() {
            return;
        }
        self.while_mapped(|| {
            loop {
                let level = log_forwarder.wanted_level();
                hears(level as u8);
                // Another thread may have told an older one last.
                if log_forwarder.wanted_level() == level {
                    break;
                }
            }
        });
    }

    /// The image is mapped: from here on it can be asked what it has allocated.
    pub fn counts_with(&self, counts: extern "C" fn() -> ROption<u64>) {
        let _ = self.counts.set(counts);
    }

    /// How many bytes it has allocated just now; none if it counts none, or is gone. Nobody holds an instance for that: whoever goes back
    /// to one must be its only holder.
    pub fn live_bytes(&self) -> Option<u64> {
        let counts = self.counts.get()?;
        self.while_mapped(|| counts().into_option())?
    }

    /// As for a destructor: the image is not closed meanwhile. None if it is closed already.
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
            (self.when_less)();
        }
        Some(done)
    }
}
