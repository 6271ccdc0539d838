//! What the conversations of one socket share.

use super::recent::Recent;
use parking_lot::Mutex;
use reslot_runtime::surface::HostHandle;
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

/// So many may be connected at once.
pub(super) const MOST: usize = 16;
/// So many connections may follow events: they stay for days, and there must be room for those who have something to ask.
const MOST_FOLLOWERS: usize = 12;

/// What conversations share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) host: HostHandle,
    pub(super) recent: Arc<Recent>,
    pub(super) begun: Instant,
    /// Everything ends.
    pub(super) over: AtomicBool,
    followers: Mutex<usize>,
}

/// Events are followed, until this is dropped.
pub(super) struct Follower<'a>(&'a Shared);

impl Shared {
    pub(super) fn new(host: HostHandle, recent: Arc<Recent>) -> Self {
        Self {
            host,
            recent,
            begun: Instant::now(),
            over: AtomicBool::new(false),
            followers: Mutex::new(0),
        }
    }

    /// A place to follow from, or why there is none.
    pub(super) fn follower(&self) -> Result<Follower<'_>, String> {
        let mut followers = self.followers.lock();
        if *followers >= MOST_FOLLOWERS {
            return Err(format!(
                "the host has too much to do: {MOST_FOLLOWERS} others follow its events; the rest of its {MOST} places is for those who ask. \
                 Try again when one of them has gone, or ask for the events without following"
            ));
        }
        *followers += 1;
        Ok(Follower(self))
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        *self.0.followers.lock() -= 1;
    }
}
