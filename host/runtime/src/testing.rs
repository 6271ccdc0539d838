//! Failures on demand, for tests of a host whose plugin's hook fails. They exist only with the feature `testing`. A failure
//! replaces the hook and is reported as if it came from the hook; everything after it (the deadline, the refusal, the
//! rollback, the unload) is the normal code.

#[cfg(feature = "testing")]
pub use on_demand::{How, Injection, Injections};
#[cfg(not(feature = "testing"))]
pub(crate) use without::Injections;

#[cfg(not(feature = "testing"))]
mod without {
    use reslot_report::{Hook, HookError};

    /// Without the feature there are no failures on demand.
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
    use reslot_plugin_api::Backtrace;
    use reslot_report::{Hook, HookError};
    use reslot_sync::{Condvar, Mutex};
    use std::sync::Arc;

    /// How a hook fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum How {
        /// It returns `Err`.
        Fail,
        /// It panics, and the host catches the panic.
        Panic,
        /// It hangs until [`Injections::release`] is called. Then the hook runs normally.
        Hang,
    }

    /// A planned failure.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Injection {
        /// The candidate's hook that fails. [`Hook::Snapshot`] is a hook of the current generation, and runs on the owner's
        /// thread if the slot is claimed: let it fail, not hang. [`Hook::Stop`] cannot be made to fail.
        pub hook: Hook,
        /// How it fails.
        pub how: How,
        /// How many times it fails; after that the hook runs normally.
        pub times: u32,
    }

    /// The planned failures of a host, which [`HostBuilder::inject`](crate::HostBuilder::inject) attaches. Clones share
    /// their contents, so a test keeps a clone to arm and release failures while the host runs.
    ///
    /// ```
    /// use reslot::{Cause, Hook, Host, testing::{How, Injection, Injections}};
    ///
    /// # let plugins = example_plugins::folder();
    /// let injections = Injections::new();
    /// let host = Host::builder().inject(&injections).build()?;
    /// injections.arm(Injection { hook: Hook::Start, how: How::Fail, times: 1 });
    /// let refusal = host.load(plugins.join("libmomentum.so")).unwrap_err();
    /// assert!(matches!(*refusal.cause, Cause::Hook(Hook::Start, _)));
    /// assert_eq!(injections.struck(), 1);
    /// host.load(plugins.join("libmomentum.so"))?; // the hook is as it was
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        /// The number of calls of `release`.
        releases: u64,
    }

    impl Injections {
        /// Creates an empty set.
        pub fn new() -> Self {
            Self::default()
        }

        /// Makes a hook fail the next time it would run.
        pub fn arm(&self, injection: Injection) {
            self.0.state.lock().armed.push(injection);
        }

        /// Releases the hooks that hang, and removes the planned failures.
        pub fn release(&self) {
            let mut state = self.0.state.lock();
            state.armed.clear();
            state.releases += 1;
            self.0.released.notify_all();
        }

        /// The number of failures so far.
        pub fn struck(&self) -> u64 {
            self.0.state.lock().struck
        }

        /// Applies the planned failure of this hook, if one exists.
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
