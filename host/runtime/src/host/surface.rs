//! Attaches surfaces to a host. Through a surface, people or programs observe, query or control a host from outside of its
//! core: a control socket, metrics, configuration. The host knows only this trait, and no particular surface.

use super::{HostBuilder, HostHandle};
use crate::{event::Observers, inputs::PluginSettings, policy::Policy, watch::WatchOptions};
use reslot_report::{Event, Record};
use std::{
    any::{Any, TypeId, type_name},
    error::Error,
    fmt,
    mem::{forget, replace, take},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

/// A surface observes, queries or controls a host from outside of its core.
/// [`HostBuilder::attach`](crate::HostBuilder::attach) attaches it, and it lives as long as the host. It needs only the
/// public items of this module, so you can write one.
///
/// The start has four steps: [`configure`](Self::configure) of all surfaces, in the order of their attachment; the creation
/// of the host; [`start`](Self::start) of all surfaces; and the load of the watched folder. A host that is dropped first
/// refuses new commands and waits for running ones; it still emits its last events; at the end it drops the values that
/// `start` returned, the last attached first. A surface with its own threads ends and joins them in that drop.
///
/// ```
/// use reslot::{Event, Host, surface::{HostHandle, Setup, Surface, SurfaceError}};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// /// Counts the host's swaps.
/// #[derive(Default)]
/// struct SwapCount(Arc<AtomicU64>);
///
/// impl Surface for SwapCount {
///     type Running = Self;
///
///     fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
///         let swaps = self.0.clone();
///         setup.on_event(move |event| {
///             if let Event::Swapped(_) = event {
///                 swaps.fetch_add(1, Ordering::Relaxed);
///             }
///         });
///         Ok(())
///     }
///
///     fn start(self, _: HostHandle) -> Result<Self, SurfaceError> {
///         Ok(self)
///     }
/// }
///
/// let host = Host::builder().attach(SwapCount::default()).build()?;
/// let count = host.surface::<SwapCount>().expect("it is attached");
/// assert_eq!(count.0.load(Ordering::Relaxed), 0);
/// # Ok::<(), reslot::BuildError>(())
/// ```
pub trait Surface: Send + 'static {
    /// The running part, which the host keeps as long as it lives and drops when it ends.
    /// [`Host::surface`](crate::Host::surface) finds it by this type.
    type Running: Send + Sync + 'static;

    /// Prepares, before anything of the host exists: opens what may be taken by somebody else, reads files, changes what was said to the
    /// builder, and names the functions that are to be called for events.
    ///
    /// # Errors
    /// If the host must not be built without this surface.
    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        let _ = setup;
        Ok(())
    }

    /// Starts the surface. The host's threads run already, and no artifact is loaded yet.
    ///
    /// # Errors
    /// If the host must not be built without this surface.
    fn start(self, host: HostHandle) -> Result<Self::Running, SurfaceError>;
}

/// What a [`Surface`] may change and ask for before the host exists.
///
/// ```
/// use reslot::{Host, surface::{HostHandle, Setup, Surface, SurfaceError}};
/// use std::time::Duration;
///
/// /// Gives every host that it is attached to the same limits.
/// struct HouseRules;
///
/// impl Surface for HouseRules {
///     type Running = ();
///
///     fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
///         setup.policy().hook_deadline = Duration::from_secs(2);
///         setup.change(|builder| builder.quarantine_cap(4));
///         assert_eq!(setup.quarantine_cap(), 4);
///         Ok(())
///     }
///
///     fn start(self, _: HostHandle) -> Result<(), SurfaceError> {
///         Ok(())
///     }
/// }
///
/// let host = Host::builder().attach(HouseRules).build()?;
/// # Ok::<(), reslot::BuildError>(())
/// ```
pub struct Setup {
    builder: HostBuilder,
    observers: Observers,
    pub(super) settings: Option<PluginSettings>,
}

impl Setup {
    pub(super) fn new(builder: HostBuilder) -> Self {
        Self {
            builder,
            observers: Observers::default(),
            settings: None,
        }
    }

    /// Calls `configure` of all surfaces, and returns the resulting setup.
    pub(super) fn of_all(builder: HostBuilder, surfaces: &mut [Box<dyn AnySurface>]) -> Result<Self, SurfaceError> {
        let mut setup = Self::new(builder);
        surfaces.iter_mut().try_for_each(|surface| surface.configure(&mut setup))?;
        Ok(setup)
    }

    pub(super) fn into_parts(self) -> (HostBuilder, Observers, Option<PluginSettings>) {
        (self.builder, self.observers, self.settings)
    }

    /// Calls this function for each event, on the thread of the event. No lock is held, so the function may
    /// [query](HostHandle::ask) the host. While that thread holds something that other threads wait for (a closed gate, or a
    /// slot during a swap), the call is deferred until the thread has released it. So events of different threads may come
    /// later than in a stream, and in another order. The function cannot wait for a load: on the reload thread a load is
    /// refused ([`Cause::Reentrant`](crate::Cause::Reentrant)). Its panics are caught.
    pub fn on_event(&mut self, observer: impl Fn(&Event) + Send + Sync + 'static) {
        self.observers.on_event.push(Box::new(observer));
    }

    /// Calls this function for each event in the order of the numbers, before any stream has the event: a reader of a stream
    /// can rely on that. The host's log is locked meanwhile, so the function must be quick and must not call the host. Its
    /// panics are caught.
    pub fn on_record(&mut self, observer: impl Fn(&Record) + Send + Sync + 'static) {
        self.observers.on_record.push(Box::new(observer));
    }

    /// Changes the builder's options.
    pub fn change(&mut self, change: impl FnOnce(HostBuilder) -> HostBuilder) {
        let builder = replace(&mut self.builder, HostBuilder::new());
        self.builder = change(builder);
    }

    /// The present policy.
    pub fn policy(&mut self) -> &mut Policy {
        &mut self.builder.policy
    }

    /// The present [quarantine cap](HostBuilder::quarantine_cap).
    pub fn quarantine_cap(&self) -> usize {
        self.builder.quarantine_cap
    }

    /// The options of the host's watch, for a surface that watches its own files in the same way.
    pub fn watch_options(&self) -> WatchOptions {
        self.builder.watch.clone()
    }

    /// Sets the settings of plugins for the start. A surface changes them later with
    /// [`apply_settings`](super::Steering::apply_settings).
    pub fn plugin_settings(&mut self, settings: PluginSettings) {
        self.settings = Some(settings);
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}

/// Why a surface could not be had: its own error, and what a person can do about it.
///
/// ```
/// use reslot::surface::SurfaceError;
///
/// let error = SurfaceError::new("the port is taken", "name another port").context("metrics cannot be served");
/// assert_eq!(
///     error.to_string(),
///     "metrics cannot be served: the port is taken\n  what to do: name another port"
/// );
/// assert_eq!(error.remedy(), Some("name another port"));
/// ```
#[derive(Debug)]
pub struct SurfaceError {
    context: Option<String>,
    error: Box<dyn Error + Send + Sync>,
    remedy: Option<String>,
}

impl SurfaceError {
    /// Creates it from an error, and from what a person can do about it.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>, remedy: impl Into<String>) -> Self {
        Self {
            context: None,
            error: error.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Adds the failed operation in front: `CONTEXT: ERROR`.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        self.context = Some(context.into());
        self
    }

    /// The surface's own error, or the unchanged value if the error has another type.
    ///
    /// # Errors
    /// If the error has another type.
    pub fn downcast<E: Error + 'static>(self) -> Result<E, Self> {
        let Self { context, error, remedy } = self;
        match error.downcast() {
            Ok(error) => Ok(*error),
            Err(error) => Err(Self { context, error, remedy }),
        }
    }

    /// The surface's own error, if it has this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.error.downcast_ref()
    }

    /// The remedy, if the surface gave one.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for SurfaceError {
    fn from(error: E) -> Self {
        Self {
            context: None,
            error: error.into(),
            remedy: None,
        }
    }
}

impl fmt::Display for SurfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(context) = &self.context {
            write!(f, "{context}: ")?;
        }
        self.error.fmt(f)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  what to do: {remedy}"),
            None => Ok(()),
        }
    }
}

/// The running part of a surface of any type.
pub(super) type Running = Box<dyn Any + Send + Sync>;

/// A surface of any type, for the host's list.
pub(super) trait AnySurface: Send {
    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError>;
    fn start(self: Box<Self>, host: HostHandle) -> Result<Running, SurfaceError>;
    fn name(&self) -> &'static str;
    fn of_type(&self) -> TypeId;
}

impl<S: Surface> AnySurface for S {
    fn configure(&mut self, setup: &mut Setup) -> Result<(), SurfaceError> {
        Surface::configure(self, setup)
    }

    fn start(self: Box<Self>, host: HostHandle) -> Result<Running, SurfaceError> {
        Ok(Box::new(Surface::start(*self, host)?))
    }

    fn name(&self) -> &'static str {
        type_name::<S>()
    }

    fn of_type(&self) -> TypeId {
        TypeId::of::<S>()
    }
}

impl fmt::Debug for dyn AnySurface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The surfaces of a running host, in the order in which they were attached.
#[derive(Default)]
pub(super) struct Surfaces(Vec<Running>);

impl Surfaces {
    /// Starts a surface and adds it.
    pub(super) fn start(&mut self, surface: Box<dyn AnySurface>, host: HostHandle) -> Result<(), SurfaceError> {
        self.0.push(surface.start(host)?);
        Ok(())
    }

    pub(super) fn get<R: 'static>(&self) -> Option<&R> {
        self.0.iter().find_map(|running| running.downcast_ref())
    }

    /// Ends them, the last attached first. If one of them panics, the panic goes on when all have ended.
    pub(super) fn end(&mut self) {
        let mut panic = None;
        while let Some(running) = self.0.pop() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(running))) {
                panic = Some(payload);
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// For a forked child, whose parent they belong to.
    pub(super) fn forget(&mut self) {
        forget(take(&mut self.0));
    }
}
