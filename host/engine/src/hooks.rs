//! The hooks by which an instance gets its state and its inputs, and their order; and which plugin migrates a state. First comes
//! [`restore`], then [`init`], then the hook `start`. A reload, a rollback and a preflight call these functions, and differ in what they do
//! around each hook ([`AroundHook`]).

use crate::instance::{ExclusiveInstance, Instance};
use reslot_report::{Hook, HookError};

/// What a caller of these functions does around each hook: it notes which hook runs, and reports a failure in its own way.
pub trait AroundHook {
    /// A hook that has failed, or was not called.
    type Failed;

    /// Calls a hook, or refuses to.
    ///
    /// # Errors
    /// If the hook fails or is not called.
    fn around<T>(&mut self, hook: Hook, call: impl FnOnce() -> Result<T, HookError>) -> Result<T, Self::Failed>;
}

/// Which plugin converts a state for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrator {
    /// None: both have the same schema.
    Nobody,
    /// The one that has written the state.
    Writer,
    /// The one that is to read it.
    Reader,
}

impl Migrator {
    /// For a state with the schema `written` and a plugin with the schema `read`: the plugin with the newer schema knows both.
    pub fn of(written: u32, read: u32) -> Self {
        match written.cmp(&read) {
            std::cmp::Ordering::Equal => Self::Nobody,
            std::cmp::Ordering::Greater => Self::Writer,
            std::cmp::Ordering::Less => Self::Reader,
        }
    }
}

/// **restore**: gives an instance a state that was encoded in `schema`. If the instance has another schema, the state is migrated first, by
/// `writer` where that is for the writer to do. Does nothing if the instance takes no state.
///
/// # Errors
/// If `migrate` or `Deserialize` fails.
pub fn restore<A: AroundHook>(
    instance: &mut ExclusiveInstance<'_>,
    (schema, state): (u32, &[u8]),
    writer: Option<&Instance>,
    caller: &mut A,
) -> Result<(), A::Failed> {
    let Some(own) = instance.instance().schema() else {
        return Ok(());
    };
    let migrated;
    let state = match (Migrator::of(schema, own.schema), writer) {
        (Migrator::Nobody, _) => state,
        (Migrator::Writer, Some(plugin)) => {
            migrated = caller.around(Hook::Migrate, || plugin.migrate(schema, own.schema, state))?;
            &migrated
        }
        // Without the writer the reader tries, and says what it cannot do.
        (Migrator::Writer, None) | (Migrator::Reader, _) => {
            let plugin = instance.instance();
            migrated = caller.around(Hook::Migrate, || plugin.migrate(schema, own.schema, state))?;
            &migrated
        }
    };
    caller.around(Hook::Restore, || instance.restore(state))
}

/// **init**: gives an instance its configuration, if there is one, and its resources, and calls `init`.
///
/// # Errors
/// If one of these hooks fails.
pub fn init<'a, A: AroundHook>(
    instance: &mut ExclusiveInstance<'_>,
    config: Option<&[u8]>,
    resources: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    caller: &mut A,
) -> Result<(), A::Failed> {
    if let Some(config) = config {
        caller.around(Hook::OnConfig, || instance.configure(config))?;
    }
    for (name, bytes) in resources {
        caller.around(Hook::OnResource, || {
            instance.resource(name, bytes).map_err(|error| error.about(name))
        })?;
    }
    caller.around(Hook::Init, || instance.init())
}

#[cfg(test)]
mod tests {
    use super::Migrator;

    #[test]
    fn plugin_with_the_newer_schema_migrates() {
        assert_eq!(Migrator::of(2, 2), Migrator::Nobody);
        assert_eq!(Migrator::of(3, 2), Migrator::Writer);
        assert_eq!(Migrator::of(2, 3), Migrator::Reader);
    }
}
