//! The functions to which [`export_plugin!`](crate::export_plugin) expands: they encode a type's state, and call its hooks
//! if it implements `Plugin`.

use super::{Context, Health, Plugin};
use crate::{
    error::PluginError,
    inside::memory::Allocator,
    root::Writer,
    settings::ConfigValue,
    state::{self, StateValue},
};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// What [`export_plugin!`](crate::export_plugin) implements for the exported type.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exported",
    note = "write `export_plugin!({Self}: dyn Interface);`"
)]
pub trait Loadable: Default + Send + 'static {
    const NAME: &'static str;
    const MANIFEST: &'static [u8];
    const ALLOCATOR: Allocator;
    fn init(&mut self, context: &Context<'_>) -> Result<(), PluginError>;
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError>;
    fn stop(&mut self, context: &Context<'_>) -> Result<(), PluginError>;
    fn on_config(&mut self, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError>;
    fn check_config(context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError>;
    fn on_resource(&mut self, context: &Context<'_>, name: &str, bytes: &[u8]) -> Result<(), PluginError>;
    fn health(&self, context: &Context<'_>) -> Health;
    /// Encodes the state. False if there is none.
    fn snapshot(&self, into: &mut Writer<'_>) -> Result<bool, PluginError>;
    fn restore(&mut self, state: &[u8]) -> Result<(), PluginError>;
    fn migrate(from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError>;
}

/// Migrates an encoded state from one schema to another, step by step.
pub(crate) fn migrate_all<T: Loadable>(from: u32, to: u32, state: &[u8], into: &mut Writer<'_>) -> Result<(), PluginError> {
    if from == to {
        into.put(state);
        return Ok(());
    }
    let mut value = StateValue::read(state)?;
    let mut at = from;
    while at != to {
        let next = if to > at { at + 1 } else { at - 1 };
        T::migrate(at, next, &mut value).map_err(|error| format!("the step from schema {at} to {next}: {error}"))?;
        at = next;
    }
    value.write(into)
}

pub(super) fn no_step(from: u32, to: u32) -> PluginError {
    format!("there is no way from schema {from} to schema {to}: implement `Plugin::migrate` for it").into()
}

/// A value that can be handed to the next generation: any that serde can write and read.
///
/// `How` improves the error message: because this trait has two implementations, of which one is never used, the compiler
/// names this trait and its remedies instead of a missing serde trait.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the value of `{Self}` cannot be handed to the next generation",
    label = "does not implement serde's `Serialize` and `Deserialize`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`: its value is what the next generation starts from",
    note = "or say that the value may be forgotten: `export_plugin!({Self}: dyn Interface, stateless);`"
)]
pub trait State<How>: Sized {
    fn encode(&self, into: &mut Writer<'_>) -> Result<(), PluginError>;
    fn decode(state: &[u8]) -> Result<Self, PluginError>;
}

#[doc(hidden)]
pub enum WithSerde {}

impl<T: Serialize + DeserializeOwned> State<WithSerde> for T {
    fn encode(&self, into: &mut Writer<'_>) -> Result<(), PluginError> {
        Ok(state::encode(self, into)?)
    }

    fn decode(state: &[u8]) -> Result<Self, PluginError> {
        Ok(state::decode(state)?)
    }
}

/// A trait that no type implements.
#[doc(hidden)]
pub trait Nothing {}

#[doc(hidden)]
pub enum NotAtAll {}

impl<T: Nothing> State<NotAtAll> for T {
    fn encode(&self, _: &mut Writer<'_>) -> Result<(), PluginError> {
        Err("a state of this kind does not exist".into())
    }

    fn decode(_: &[u8]) -> Result<Self, PluginError> {
        Err("a state of this kind does not exist".into())
    }
}

/// Encodes a state self-describing, with field names, so that a later build can add a field with `#[serde(default)]`.
#[doc(hidden)]
pub fn snapshot_state<T: State<How>, How>(value: &T, into: &mut Writer<'_>) -> Result<bool, PluginError> {
    value.encode(into).map(|()| true)
}

/// Replaces the value by the decoded state.
#[doc(hidden)]
pub fn restore_state<T: State<How>, How>(value: &mut T, state: &[u8]) -> Result<(), PluginError> {
    *value = T::decode(state)?;
    Ok(())
}

/// Finds out, for a concrete type, whether it implements [`Plugin`]: the by-value candidate wins over the autoref one.
#[doc(hidden)]
pub struct Hooks<T>(PhantomData<T>);

impl<T> Hooks<T> {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

#[doc(hidden)]
pub trait ViaPlugin<T> {
    fn init(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError>;
    fn start(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError>;
    fn stop(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError>;
    fn on_config(&self, plugin: &mut T, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError>;
    fn check_config(&self, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError>;
    fn on_resource(&self, plugin: &mut T, context: &Context<'_>, name: &str, bytes: &[u8]) -> Result<(), PluginError>;
    fn health(&self, plugin: &T, context: &Context<'_>) -> Health;
    fn migrate(&self, from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError>;
}

impl<T: Plugin> ViaPlugin<T> for Hooks<T> {
    fn init(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError> {
        plugin.init(context)
    }

    fn start(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError> {
        plugin.start(context)
    }

    fn stop(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError> {
        plugin.stop(context)
    }

    fn on_config(&self, plugin: &mut T, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError> {
        plugin.on_config(context, config)
    }

    fn check_config(&self, context: &Context<'_>, config: &ConfigValue) -> Result<(), PluginError> {
        T::check_config(context, config)
    }

    fn on_resource(&self, plugin: &mut T, context: &Context<'_>, name: &str, bytes: &[u8]) -> Result<(), PluginError> {
        plugin.on_resource(context, name, bytes)
    }

    fn health(&self, plugin: &T, context: &Context<'_>) -> Health {
        plugin.health(context)
    }

    fn migrate(&self, from: u32, to: u32, state: &mut StateValue) -> Result<(), PluginError> {
        T::migrate(from, to, state)
    }
}

#[doc(hidden)]
pub trait ViaDefault<T> {
    fn init(&self, _: &mut T, _: &Context<'_>) -> Result<(), PluginError> {
        Ok(())
    }

    fn start(&self, _: &mut T, _: &Context<'_>) -> Result<(), PluginError> {
        Ok(())
    }

    fn stop(&self, _: &mut T, _: &Context<'_>) -> Result<(), PluginError> {
        Ok(())
    }

    fn on_config(&self, _: &mut T, _: &Context<'_>, _: &ConfigValue) -> Result<(), PluginError> {
        Ok(())
    }

    fn check_config(&self, _: &Context<'_>, _: &ConfigValue) -> Result<(), PluginError> {
        Ok(())
    }

    fn on_resource(&self, _: &mut T, _: &Context<'_>, _: &str, _: &[u8]) -> Result<(), PluginError> {
        Ok(())
    }

    fn health(&self, _: &T, _: &Context<'_>) -> Health {
        Health::Ok
    }

    fn migrate(&self, from: u32, to: u32, _: &mut StateValue) -> Result<(), PluginError> {
        Err(no_step(from, to))
    }
}

impl<T> ViaDefault<T> for &Hooks<T> {}
