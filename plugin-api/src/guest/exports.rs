//! The hooks of a plugin's type, for the exports of its module.

use crate::{
    error::PluginError,
    guest::{Arguments, Hook, HookOutcome},
    inside::{self, stack},
    interface::{Implements, Marshalling},
    panic_payload::discard,
    plugin::{Context, Loadable, migrate_all},
    root::{Buffer, ContextAbi, HealthAbi, Writer},
    settings::ConfigValue,
    state::{self, MAX_STATE_LEVELS, Met},
    std_types::RStr,
    text::cut_words,
};
use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What the module's exports need of the plugin.
#[repr(C)]
pub struct Header {
    pub(crate) create: fn() -> *mut (),
    pub(crate) table: *const (),
    pub(crate) marshalling: fn() -> Marshalling,
    /// Calls a hook other than `Create`.
    pub(crate) hook: unsafe fn(Hook, *mut (), (u32, u32), Arguments<'_>) -> (HookOutcome, Vec<u8>),
}

// SAFETY: function pointers, and a table that is constant.
unsafe impl Sync for Header {}

impl Header {
    /// The header of the plugin `T` for the interface `I`.
    pub const fn new<T: Loadable, I: ?Sized + Implements<T>>() -> Self {
        Self {
            create: Glue::<T, I>::create,
            table: I::TABLE,
            marshalling: Marshalling::of::<I>,
            hook: Glue::<T, I>::hook,
        }
    }
}

/// The functions of a header.
pub struct Glue<T, I: ?Sized>(PhantomData<T>, PhantomData<I>);

impl<T: Loadable, I: ?Sized + Implements<T>> Glue<T, I> {
    fn create() -> *mut () {
        Box::into_raw(Box::<T>::default()).cast()
    }

    /// # Safety
    /// `object` must be what `create` returned, and not in use in another way than the hook's receiver allows. `Destroy` is the last hook.
    unsafe fn hook(hook: Hook, object: *mut (), (from, to): (u32, u32), given: Arguments<'_>) -> (HookOutcome, Vec<u8>) {
        let mut buffer = Buffer::with_capacity(0);
        let body = || {
            // SAFETY: the caller's promise.
            unsafe { Self::run(hook, object, (from, to), given, &mut buffer) }
        };
        let left = stack::left();
        let (ended, met) = state::within(MAX_STATE_LEVELS, left - left / 4, || catch_unwind(AssertUnwindSafe(body)));
        let ended = match (ended, met) {
            (_, Some(Met::TooDeep)) => return (HookOutcome::TooDeep, Vec::new()),
            (_, Some(Met::StackUsed)) => return (HookOutcome::StackUsed, Vec::new()),
            (Ok(ended), _) => ended,
            (Err(payload), _) => {
                inside::contained(&*payload, false);
                discard(payload);
                return (HookOutcome::Panicked, Vec::new());
            }
        };
        match ended {
            Ok(outcome) => (outcome, buffer.into_vec()),
            Err(error) if met == Some(Met::NotCarried) => (HookOutcome::NotCarried, cut_words(error).into_bytes()),
            Err(error) => (HookOutcome::Refused, cut_words(error).into_bytes()),
        }
    }

    /// # Safety
    /// As for `hook`.
    unsafe fn run(
        hook: Hook,
        object: *mut (),
        (from, to): (u32, u32),
        given: Arguments<'_>,
        into: &mut Buffer,
    ) -> Result<HookOutcome, PluginError> {
        let abi = ContextAbi {
            slot: RStr::from_str(given.slot),
            generation: given.generation,
        };
        let context = Context::of(abi, object, None);
        let mut writer = Writer::new(into.as_abi());
        // SAFETY: the caller's promise; only one of the two is used.
        let shared = || unsafe { &*object.cast::<T>() };
        // SAFETY: as above.
        let alone = || unsafe { &mut *object.cast::<T>() };
        match hook {
            Hook::Create => return Ok(HookOutcome::Invalid),
            Hook::Init => alone().init(&context)?,
            Hook::Start => alone().start(&context)?,
            Hook::Stop => alone().stop(&Context::of_stopping(abi, object, None))?,
            Hook::Health => {
                let HealthAbi { result, message } = shared().health(&context).into();
                writer.put(&result.to_le_bytes());
                writer.put(message.as_bytes());
            }
            Hook::Snapshot => {
                if !shared().snapshot(&mut writer)? {
                    return Ok(HookOutcome::NoState);
                }
            }
            Hook::Restore => alone().restore(given.bytes)?,
            Hook::Migrate => migrate_all::<T>(from, to, given.bytes, &mut writer)?,
            Hook::CannotRead => T::default().restore(given.bytes)?,
            Hook::Configure => alone().on_config(&context, &ConfigValue::read(given.bytes)?)?,
            Hook::CheckConfig => T::check_config(&context, &ConfigValue::read(given.bytes)?)?,
            Hook::Resource => alone().on_resource(&context, given.name, given.bytes)?,
            // SAFETY: the caller's promise: it is not used any more.
            Hook::Destroy => drop(unsafe { Box::from_raw(object.cast::<T>()) }),
        }
        Ok(HookOutcome::Done)
    }
}
