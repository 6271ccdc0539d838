//! Failures on demand, for tests of what a host does when a plugin's hook fails: behind the feature `testing`, and without it
//! nothing at all. A failure strikes where the hook would have run and is reported as if it came from there; all that follows (the
//! deadline, the refusal, the way back, the unloading) is what it always is.

#[cfg(feature = "testing")]
pub use on_demand::{How, Injection, Injections};
#[cfg(not(feature = "testing"))]
pub(crate) use without::Injections;

#[cfg(not(feature = "testing"))]
mod without {
    use reslot_report::{Hook, HookError};

    /// There are none.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Injections(());

    impl Injections {
        #[inline(always)]
        pub(crate) fn trigger(&self, _: Hook) -> Result<(), HookError> {
            Ok(())
        }
    }
}

#[cfg(feature = "testing")]
mod on_demand {
    use parking_lot::{Condvar, Mutex};
    use reslot_plugin_api::Backtrace;
    use reslot_report::{Hook, HookError};
    use std::sync::Arc;

    /// How a hook fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum How {
        /// It answers `Err`.
        Fail,
        /// It panics, and the panic is contained.
        Panic,
        /// It does not come back until [`Injections::release`] is called. Then it runs as it would have.
        Hang,
    }

    /// A failure to come.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Injection {
        /// Of which hook of a candidate. [`Hook::Snapshot`] is of what serves, and on the owner's thread if it is claimed: let it
        /// fail, not hang. [`Hook::Stop`] is not struck.
        pub hook: Hook,
        /// In which way.
        pub how: How,
        /// How often, before the hook is as it was.
        pub times: u32,
    }

    /// The failures that are to come in a host, given to it by [`HostBuilder::inject`](crate::HostBuilder::inject). Clones are the
    /// same ones, so that whoever keeps one arms and releases them while the host runs.
    #[derive(Debug, Clone, Default)]
    pub struct Injections(Arc<Shared>);

    #[derive(Debug, Default)]
    struct Shared {
        state: Mutex<State>,
        released: Condvar,
    }

    #[derive(Debug, Default)]
    struct State {
        armed: Vec<Injection>,
        struck: u64,
        /// How often all that hung was released.
        releases: u64,
    }

    impl Injections {
        /// None yet.
        pub fn new() -> Self {
            Self::default()
        }

        /// Has a hook fail when it comes up next.
        pub fn arm(&self, injection: Injection) {
            self.0.state.lock().armed.push(injection);
        }

        /// Lets go on what hangs, and forgets what has not struck yet.
        pub fn release(&self) {
            let mut state = self.0.state.lock();
            state.armed.clear();
            state.releases += 1;
            self.0.released.notify_all();
        }

        /// How many have struck so far.
        pub fn struck(&self) -> u64 {
            self.0.state.lock().struck
        }

        /// What happens in place of this hook, if anything does.
        pub(crate) fn trigger(&self, hook: Hook) -> Result<(), HookError> {
            let mut state = self.0.state.lock();
            let Some(at) = state.armed.iter().position(|one| one.hook == hook && one.times > 0) else {
                return Ok(());
            };
            state.armed[at].times -= 1;
            state.struck += 1;
            match state.armed[at].how {
                How::Fail => Err(HookError::Refused("injected by a test".to_owned())),
                How::Panic => Err(HookError::Panicked {
                    message: "injected by a test".into(),
                    location: None,
                    backtrace: Backtrace::default(),
                }),
                How::Hang => {
                    let releases = state.releases;
                    while state.releases == releases {
                        self.0.released.wait(&mut state);
                    }
                    Ok(())
                }
            }
        }
    }
}
