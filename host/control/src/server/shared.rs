//! The state that the conversations of one socket share.

use super::recent::Recent;
use parking_lot::Mutex;
use reslot_runtime::surface::HostHandle;
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

/// The highest number of connections.
pub(super) const MOST: usize = 16;
/// The highest number of connections that follow events. Followers stay for days, and there must be room for requests.
const MOST_FOLLOWERS: usize = 12;

/// The shared state.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) host: HostHandle,
    pub(super) recent: Arc<Recent>,
    pub(super) begun: Instant,
    /// Tells this host from every other one, see [`Overview::host_id`](crate::protocol::Overview::host_id).
    pub(super) host_id: String,
    /// The server is shutting down.
    pub(super) over: AtomicBool,
    followers: Mutex<usize>,
}

/// A follower's place. It is free again when this is dropped.
pub(super) struct Follower<'a>(&'a Shared);

impl Shared {
    pub(super) fn new(host: HostHandle, recent: Arc<Recent>) -> Self {
        Self {
            host,
            recent,
            begun: Instant::now(),
            // `RandomState` has random keys, and other keys each time.
            host_id: format!("{:016x}", RandomState::new().hash_one(Instant::now())),
            over: AtomicBool::new(false),
            followers: Mutex::new(0),
        }
    }

    /// Takes a follower's place, or says why there is none.
    pub(super) fn follower(&self) -> Result<Follower<'_>, String> {
        let mut followers = self.followers.lock();
        if *followers >= MOST_FOLLOWERS {
            return Err(format!(
                "the host is busy: {MOST_FOLLOWERS} others follow its events, and the rest of its {MOST} connections is \
                     for requests. Try again when a follower has closed its connection, or request the events without \
                     following"
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
