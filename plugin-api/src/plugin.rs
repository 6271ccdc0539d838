//! The lifecycle hooks of a plugin's type. `export` has the macro that makes it loadable, `glue` the code to which it
//! expands, and `health` the result of a health check.

mod export;
mod glue;
mod health;

use crate::{attachment::Attachment, error::PluginError, root::ContextAbi, settings::ConfigValue, state::StateValue};
pub(crate) use glue::migrate_all;
pub use glue::{Hooks, Loadable, ViaDefault, ViaPlugin, restore_state, snapshot_state};
pub use health::Health;

/// The lifecycle hooks of a plugin. Every hook has a default: a plugin that needs none does not implement this trait at all.
///
/// An instance is made with [`Default`]. It gets its predecessor's state ([`migrate`](Self::migrate) converts it if the
/// schema differs), and its configuration and resources if the host has them. Then it is initialised, started, called,
/// stopped and dropped. (If there is a state, it replaces the value of `Default`, which is dropped: acquire resources in
/// `start`, not in `Default`.) A panic in a hook counts as an `Err` of that hook.
///
/// The state is the value itself, as serde writes it. It may be nested [`MAX_STATE_LEVELS`](crate::MAX_STATE_LEVELS) deep,
/// and arrives unchanged, including nested options and numbers of 128 bits. A state that cannot arrive unchanged is refused,
/// and the predecessor keeps serving. serde's code and [`migrate`](Self::migrate) run on a thread of the host's with more
/// stack if the state is nested deeply, and may then run twice.
pub trait Plugin: Default + Send + 'static {
    /// Builds data that is derived from the state: caches, indexes. It is called once, after the state was handed over and
    /// before [`start`](Self::start). It must not acquire anything outside of the plugin or start a thread, because a
    /// preflight runs `init` in a child process as well, without configuration and resources. A preflight does not run
    /// `start`.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation.
    fn init(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Acquires what the instance needs for its work. It is called after [`init`](Self::init) and before the first call.
    /// Until it returns `Ok`, the predecessor keeps serving, unless the plugin is `exclusive`: then the predecessor was
    /// stopped before.
    ///
    /// An instance of an `exclusive` plugin may be stopped and started again. The host does this if its successor cannot
    /// start. After a rollback a second instance may be started in the same image, beside one that callers still hold: keep
    /// resources in the plugin's value, not in a `static`.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation.
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Releases what `start` acquired. It is called after the last call, on the host's reaper thread. For an `exclusive`
    /// plugin it is called before its successor is started, and the instance may be started again. The host asks threads of
    /// [`Context::spawn`] to end before `stop`, and waits for them after it.
    ///
    /// # Errors
    /// The error is recorded in the report; the instance is dropped in any case.
    fn stop(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Gets the configuration: the table of the slot, empty if there is none. A host with a configuration calls it once for
    /// an instance, after the state was handed over and before [`init`](Self::init); without a configuration the values of
    /// `Default` stay. The state was decoded before, so mark fields with configuration as `#[serde(skip)]`.
    ///
    /// For a changed configuration the host makes a new generation of the same artifact, as in any reload; the current
    /// instance is never changed while it is called. So after an error, a panic or a hang the current generation keeps
    /// serving.
    ///
    /// # Errors
    /// A new artifact is refused, and the slot keeps its current generation. A changed configuration is refused, and the
    /// current generation keeps its configuration.
    fn on_config(&mut self, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError> {
        let _ = (context, config);
        Ok(())
    }

    /// Checks a configuration before any plugin gets it: the host calls it for all plugins whose tables have changed, and if
    /// one refuses, no plugin gets the change. It may run at any time, while the plugin is called, so it has no instance.
    /// The default makes a value with [`Default`], calls [`on_config`](Self::on_config) on it, and drops it.
    ///
    /// # Errors
    /// The change is refused for all plugins.
    fn check_config(context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError> {
        Self::default().on_config(context, config)
    }

    /// Gets a resource that `resources = ["…"]` of [`export_plugin!`](crate::export_plugin) names. It is called after
    /// [`on_config`](Self::on_config) and before [`init`](Self::init), once for each existing resource, in their order. As
    /// with a configuration, changed content goes to a new instance.
    ///
    /// # Errors
    /// As with `on_config`: a new artifact is refused; after a change, the current generation keeps the former content.
    fn on_resource(&mut self, context: &Context<'_>, name: &str, bytes: &[u8]) -> Result<(), PluginError> {
        let _ = (context, name, bytes);
        Ok(())
    }

    /// Reports the instance's health. It must be fast, because it has a time limit. For a shared plugin it runs on a thread
    /// of the host, at the same time as calls; for a claimed one on the owner's thread, inside `Claim::sync`. A panic counts
    /// as [`Health::CheckFailed`].
    fn health(&self, context: &Context<'_>) -> Health {
        let _ = context;
        Health::Ok
    }

    /// One step of a state's migration from one schema to another: `to` is `from + 1` on the way up to a newer build, and
    /// `from - 1` on the way down to an older one. The newer build does both, because only it knows both schemas;
    /// `migrates_from` of [`export_plugin!`](crate::export_plugin) is the oldest schema that it knows. The result of the
    /// last step is decoded as the state's type.
    ///
    /// [`StateValue`] has an example.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation with its state. The default is an error for every step.
    fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
        let _ = state;
        Err(glue::no_step(from, to))
    }
}

/// Information about the instance, and access to its host.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    slot: &'a str,
    generation: u64,
    /// The address of the instance; 0 if there is none.
    instance: usize,
    /// Whether the instance is being stopped.
    stopping: bool,
    /// Of a linked plugin.
    attachment: Option<&'a Attachment>,
}

impl<'a> Context<'a> {
    /// The slot's name.
    pub fn slot(&self) -> &'a str {
        self.slot
    }

    /// The generation's number, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn of(abi: ContextAbi<'a>, instance: *const (), attachment: Option<&'a Attachment>) -> Self {
        Self {
            slot: abi.slot.as_str(),
            generation: abi.generation,
            instance: instance.addr(),
            stopping: false,
            attachment,
        }
    }

    /// Of an instance that is being stopped.
    pub(crate) fn of_stopping(abi: ContextAbi<'a>, instance: *const (), attachment: Option<&'a Attachment>) -> Self {
        Self {
            stopping: true,
            ..Self::of(abi, instance, attachment)
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// A number that distinguishes the threads of different instances.
    pub(crate) fn instance(&self) -> usize {
        self.instance
    }

    /// The connection to the host, if the plugin is linked. A loaded plugin has a static for that.
    pub(crate) fn attachment(&self) -> Option<&'a Attachment> {
        self.attachment
    }
}
