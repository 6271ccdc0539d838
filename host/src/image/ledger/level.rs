//! How much an image logs, told to the image while it is mapped: by the thread that loads it, and by whoever changes it later.

use super::{Ledger, Voice};

impl Ledger {
    /// Tells how what the image logs is told of; once, before any of its hooks is called.
    pub(crate) fn speaks_with(&self, voice: Voice) {
        let _ = self.voice.set(voice);
    }

    pub(in crate::image) fn voice(&self) -> Option<&Voice> {
        self.voice.get()
    }

    /// The image is mapped and has the host's functions: from here on it can be told how much it is to log, and is.
    pub(in crate::image) fn hears_with(&self, hears: extern "C" fn(u8)) {
        let _ = self.hears.set(hears);
        self.tell_log_level();
    }

    /// Tells the image how much it is to log, if it can be told and is still there.
    pub(crate) fn tell_log_level(&self) {
        let (Some(voice), Some(hears)) = (self.voice.get(), self.hears.get()) else {
            return;
        };
        {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            // As for a destructor: the image is not closed meanwhile.
            state.running += 1;
        }
        loop {
            let level = voice.wanted_level();
            hears(level as u8);
            // Another thread may have told an older one last.
            if voice.wanted_level() == level {
                break;
            }
        }
        let mut state = self.state.lock();
        state.running -= 1;
        let watched = state.watched;
        drop(state);
        if watched {
            (self.when_less)();
        }
    }
}
