//! What a plugin's type may do beside its interface: the lifecycle hooks. What makes it loadable is in the rooms below: `export`
//! has the macro, `glue` what it expands to, `health` what a plugin answers when it is asked how it is.

mod export;
mod glue;
mod health;

use crate::{attachment::Attachment, error::PluginError, root::ContextAbi, settings::ConfigValue, state::StateValue};
pub(crate) use glue::migrate_all;
pub use glue::{Hooks, Loadable, ViaDefault, ViaPlugin, restore_state, snapshot_state};
pub use health::Health;

/// The lifecycle hooks of a plugin. Every one has a default: a plugin that needs none does not implement this trait at all.
///
/// An instance is made with [`Default`], gets its predecessor's state (which [`migrate`](Self::migrate) has brought to its
/// schema, if that is another), its configuration and its resources if the host has such, is initialised, started, called, stopped and dropped. (What `Default` has made is replaced by
/// the state, and so dropped, if there is one: acquire things in `start`, not there.) A panic in a hook counts as an `Err` of
/// that hook.
///
/// The state is the value itself, as serde writes it. It may be nested [`MAX_STATE_LEVELS`](crate::MAX_STATE_LEVELS) deep, and arrives as it
/// was, options in options and numbers of 128 bits included; what cannot arrive so is refused, and the predecessor keeps serving. serde's code
/// and [`migrate`](Self::migrate) run on a thread of the host's with more stack if the state is nested deeply, and may then run twice.
pub trait Plugin: Default + Send + 'static {
    /// Builds what is derived from the state: caches, indexes. Called once, after the state was handed over and before
    /// [`start`](Self::start). It acquires nothing outside of the plugin, and starts no thread: when an artifact is tried in a
    /// process of its own before it meets the host, `init` runs there as well, without configuration and resources, and `start` does not.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation.
    fn init(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Acquires what the instance needs to serve. Called after [`init`](Self::init) and before the first call; until it answers
    /// `Ok`, the predecessor keeps serving, unless the plugin is `exclusive`: then the predecessor was stopped before.
    ///
    /// An instance of an `exclusive` plugin may be stopped and started again. That is the way back when its successor cannot
    /// start. After a rollback a second instance may be started in the same image, beside one that callers still hold: keep what is
    /// acquired here in the plugin's value, not in a `static`.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation.
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Gives back what `start` acquired. Called after the last call, on the host's reaper thread; of an `exclusive` plugin before
    /// its successor is started, and then the instance may be started again. Threads that were started with [`Context::spawn`]
    /// have been asked to end before, and are waited for after it.
    ///
    /// # Errors
    /// Recorded in the report; the instance is dropped all the same.
    fn stop(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Takes its configuration: the table of its slot, empty if there is none. Called once for an instance, after the state was
    /// handed over and before [`init`](Self::init), by a host that has a configuration; otherwise the values of `Default` hold. The
    /// state was decoded before, so what is kept of the configuration is best `#[serde(skip)]`.
    ///
    /// A configuration that has changed comes to a new instance: the host makes another generation of the same artifact, as with any
    /// reload, and the one that serves is never changed under its callers. So a veto, a panic or a hang costs nothing.
    ///
    /// # Errors
    /// A veto. A new artifact is refused, and the slot keeps its current generation; a change is refused, and what serves goes on
    /// with the configuration that it has.
    fn on_config(&mut self, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError> {
        let _ = (context, config);
        Ok(())
    }

    /// Says whether it would take a configuration, before anybody is given it: the host asks all plugins whose tables a change is
    /// about, and if one of them refuses, none is given anything. It may be asked at any time, while the plugin is called, so it
    /// has no instance. Unless it is implemented, a value is made with [`Default`], asked by [`on_config`](Self::on_config), and
    /// dropped.
    ///
    /// # Errors
    /// A veto: the change is refused for all.
    fn check_config(context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError> {
        Self::default().on_config(context, config)
    }

    /// Takes a resource that `resources = ["…"]` of [`export_plugin!`](crate::export_plugin) names. Called after
    /// [`on_config`](Self::on_config) and before [`init`](Self::init), once for each that exists, in their order. As with a
    /// configuration, content that has changed comes to a new instance.
    ///
    /// # Errors
    /// A veto, as with `on_config`: a new artifact is refused; with a change, what serves goes on with what it has.
    fn on_resource(&mut self, context: &Context<'_>, name: &str, bytes: &[u8]) -> Result<(), PluginError> {
        let _ = (context, name, bytes);
        Ok(())
    }

    /// Says how the instance is, quickly: the host waits only so long. A shared plugin is asked on a thread of the host's, while
    /// others call it; a claimed one on its owner's thread, inside of `Claim::sync`. A panic counts as
    /// [`Health::CheckFailed`].
    fn health(&self, context: &Context<'_>) -> Health {
        let _ = context;
        Health::Ok
    }

    /// One step of a state's way from one schema to another: `to` is `from + 1` on the way up, when a newer build takes over, and
    /// `from - 1` on the way down, when an older one does. Both are done by the newer build, which alone knows both schemas;
    /// `migrates_from` of [`export_plugin!`](crate::export_plugin) says how far down it does. What the last step leaves is
    /// decoded as the state's type.
    ///
    /// [`StateValue`] has an example.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation, and its state as it was. Unless it is implemented, every
    /// step is an error.
    fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
        let _ = state;
        Err(glue::no_step(from, to))
    }
}

/// What a plugin is told about where it lives.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    slot: &'a str,
    generation: u64,
    /// The address of the instance; 0 if there is none.
    instance: usize,
    /// It is being stopped.
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

    /// By which the threads of one instance are told from those of another.
    pub(crate) fn instance(&self) -> usize {
        self.instance
    }

    /// The way to its host, if the plugin is linked. A loaded one has a static for that.
    pub(crate) fn attachment(&self) -> Option<&'a Attachment> {
        self.attachment
    }
}
