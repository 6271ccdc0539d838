//! What a plugin's type may do beside its interface: the lifecycle hooks, its state, and the macro that makes it loadable.

use crate::{inside::memory::Allocator, root::ContextAbi};
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;

/// Why a hook refused. Anything that converts with `?` or `.into()`.
pub type PluginError = Box<dyn std::error::Error + Send + Sync>;

/// The lifecycle hooks of a plugin. Every one has a default: a plugin that needs none does not implement this trait at all.
///
/// An instance is made with [`Default`], gets its predecessor's state, is started, called, stopped and dropped. (What `Default` has
/// made is replaced by the state, and so dropped, if there is one: acquire things in `start`, not there.) A panic in a
/// hook counts as an `Err` of that hook.
pub trait Plugin: Default + Send + 'static {
    /// Acquires what the instance needs to serve. Called after the state was handed over and before the first call; until it
    /// answers `Ok`, the predecessor serves on.
    ///
    /// # Errors
    /// Refuses the candidate; the slot keeps its current generation.
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }

    /// Gives back what `start` acquired. Called after the last call, on the host's reaper thread. Threads that were started
    /// with [`Context::spawn`] have been asked to end before, and are waited for after it.
    ///
    /// # Errors
    /// Recorded in the report; the instance is dropped all the same.
    fn stop(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
        let _ = context;
        Ok(())
    }
}

/// What a plugin is told about where it lives.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    slot: &'a str,
    generation: u64,
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
}

impl<'a> From<ContextAbi<'a>> for Context<'a> {
    fn from(abi: ContextAbi<'a>) -> Self {
        Self {
            slot: abi.slot.as_str(),
            generation: abi.generation,
        }
    }
}

/// What [`export_plugin!`](crate::export_plugin) implements for the exported type.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not exported",
    note = "write `export_plugin!({Self}: dyn Interface);`"
)]
pub trait Loadable: Default + Send + 'static {
    const MANIFEST: &'static [u8];
    const ALLOCATOR: Allocator;
    fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError>;
    fn stop(&mut self, context: &Context<'_>) -> Result<(), PluginError>;
    fn snapshot(&self) -> Result<Option<Vec<u8>>, PluginError>;
    fn restore(&mut self, state: &[u8]) -> Result<(), PluginError>;
}

/// A value that can be handed to the next generation: any that serde can write and read.
///
/// `How` is there for the sake of the error message: with two ways to implement this trait, of which one is never taken, the
/// compiler names this trait, and its remedies, instead of the half of serde that it misses first.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the value of `{Self}` cannot be handed to the next generation",
    label = "does not implement serde's `Serialize` and `Deserialize`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`: its value is what the next generation starts from",
    note = "or say that the value may be forgotten: `export_plugin!({Self}: dyn Interface, stateless);`"
)]
pub trait State<How>: Sized {
    fn encode(&self) -> Result<Vec<u8>, PluginError>;
    fn decode(state: &[u8]) -> Result<Self, PluginError>;
}

#[doc(hidden)]
pub enum WithSerde {}

impl<T: Serialize + DeserializeOwned> State<WithSerde> for T {
    fn encode(&self) -> Result<Vec<u8>, PluginError> {
        Ok(rmp_serde::to_vec_named(self)?)
    }

    fn decode(state: &[u8]) -> Result<Self, PluginError> {
        Ok(rmp_serde::from_slice(state)?)
    }
}

/// Nothing implements it.
#[doc(hidden)]
pub trait Nothing {}

#[doc(hidden)]
pub enum NotAtAll {}

impl<T: Nothing> State<NotAtAll> for T {
    fn encode(&self) -> Result<Vec<u8>, PluginError> {
        Err("a state of this kind does not exist".into())
    }

    fn decode(_: &[u8]) -> Result<Self, PluginError> {
        Err("a state of this kind does not exist".into())
    }
}

/// Encodes a state self-describing, with field names, so that a field with `#[serde(default)]` may come later.
#[doc(hidden)]
pub fn snapshot_state<T: State<How>, How>(value: &T) -> Result<Option<Vec<u8>>, PluginError> {
    value.encode().map(Some)
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
    fn start(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError>;
    fn stop(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError>;
}

impl<T: Plugin> ViaPlugin<T> for Hooks<T> {
    fn start(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError> {
        plugin.start(context)
    }

    fn stop(&self, plugin: &mut T, context: &Context<'_>) -> Result<(), PluginError> {
        plugin.stop(context)
    }
}

#[doc(hidden)]
pub trait ViaDefault<T> {
    fn start(&self, _: &mut T, _: &Context<'_>) -> Result<(), PluginError> {
        Ok(())
    }

    fn stop(&self, _: &mut T, _: &Context<'_>) -> Result<(), PluginError> {
        Ok(())
    }
}

impl<T> ViaDefault<T> for &Hooks<T> {}

/// Makes the crate a plugin: `export_plugin!(Momentum: dyn Strategy);`, once, in a crate with `crate-type = ["cdylib"]`.
///
/// The type must be `Default`, implement the interface's trait, and derive serde's `Serialize` and `Deserialize`: its value
/// is what the next generation starts from. Lifecycle hooks are picked up if the type implements [`Plugin`]. Options follow
/// the interface, in any order:
///
/// ```text
/// export_plugin!(Greeter: dyn Greet, stateless, name = "polite", allocator = freeing);
/// ```
///
/// - `stateless`: the value may be forgotten. The type then needs no serde.
/// - `name = "…"`: the slot's name; otherwise it is the package's.
/// - `allocator = counting`, the default: the plugin allocates from the system, and the host can say how much it has allocated,
///   and how much was left when it was unloaded. That costs nothing that could be felt.
/// - `allocator = freeing`: besides, what the plugin has left (`LazyLock`s and other statics, `Box::leak`, thread-locals of
///   threads that live on) is freed after its image is proven gone. Each block is larger by 16 bytes (by its alignment, if that is
///   more) and by its entry in a table of 16 bytes. Do not choose it if something that outlives the plugin keeps a pointer into its
///   memory: a C library that was given a buffer, say.
/// - `allocator = own`: the plugin has a `#[global_allocator]` of its own, or wants the plain one. Nothing is counted.
///
/// The macro also places, in the plugin's own crate, hidden replacements for the libc functions by which a Rust library
/// would tie itself to the process (`facts`: thread-local destructors, pthread keys, threads, mappings): without them an
/// image could not be unmapped. They and the allocator are left out of the crate's unit tests.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty : $interface:ty $(, $($options:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, () () (); $($($options)*)? }
    };
    // The three pairs of parentheses hold what was found so far: the state, the name, the allocator.
    (@options $plugin:ty, $interface:ty, () $name:tt $allocator:tt; stateless $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, (stateless) $name $allocator; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt () $allocator:tt; name = $name:literal $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state ($name) $allocator; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt (); allocator = counting $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name (Counting); $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt (); allocator = freeing $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name (Freeing); $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt (); allocator = own $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name (Own); $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, () $name:tt $allocator:tt;) => {
        $crate::export_plugin! { @export $plugin, $interface, ::core::option::Option::Some(1), $name, $allocator,
            $crate::__private::snapshot_state, $crate::__private::restore_state }
    };
    (@options $plugin:ty, $interface:ty, (stateless) $name:tt $allocator:tt;) => {
        $crate::export_plugin! { @export $plugin, $interface, ::core::option::Option::None, $name, $allocator,
            (|_| ::core::result::Result::Ok(::core::option::Option::None)), (|_, _| ::core::result::Result::Ok(())) }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt (); allocator $($rest:tt)*) => {
        ::core::compile_error!(
            "`allocator` is `counting` (the default), `freeing` (what the plugin leaves behind is freed) or `own` (it has a \
             `#[global_allocator]` of its own): `allocator = freeing`"
        );
    };
    (@options $plugin:ty, $interface:ty, $state:tt () $allocator:tt; name $($rest:tt)*) => {
        ::core::compile_error!("`name` is given as a text: `name = \"momentum\"`");
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $allocator:tt; $wrong:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($wrong), "` is no option of a plugin, or stands there twice: the options are `stateless`, \
             `name = \"…\"` and `allocator = counting | freeing | own`, with commas between them"
        ));
    };
    (@allocator ()) => { $crate::export_plugin! { @allocator (Counting) } };
    (@allocator (Own)) => {};
    (@allocator ($allocator:ident)) => {
        #[cfg(not(test))]
        mod __reslot_allocator {
            #[global_allocator]
            static ALLOCATOR: $crate::__private::$allocator = $crate::__private::$allocator;
        }
    };
    (@kind ()) => { $crate::__private::Allocator::Counting };
    (@kind ($allocator:ident)) => { $crate::__private::Allocator::$allocator };
    (@name ()) => { ::core::env!("CARGO_PKG_NAME") };
    (@name ($name:literal)) => { $name };
    (@export $plugin:ty, $interface:ty, $state:expr, $name:tt, $allocator:tt, $snapshot:expr, $restore:expr) => {
        const _: () = {
            #[cfg(panic = "abort")]
            ::core::compile_error!(
                "a plugin must be built with panic = \"unwind\": with \"abort\" its panic would end the host"
            );

            const MANIFEST: $crate::__private::Manifest = $crate::__private::Manifest {
                name: $crate::export_plugin!(@name $name),
                version: ::core::env!("CARGO_PKG_VERSION"),
                state: $state,
                interface: <$interface as $crate::Interface>::DESCRIPTION,
            };
            const LEN: usize = MANIFEST.encoded_len();

            #[used]
            #[unsafe(link_section = ".reslot.manifest")]
            static BYTES: [u8; LEN] = MANIFEST.encode();

            #[used]
            #[cfg_attr(not(test), unsafe(export_name = "reslot_root"))]
            pub static ROOT: $crate::__private::Header = $crate::__private::Header::new::<$plugin, $interface>();

            impl $crate::__private::Loadable for $plugin {
                const MANIFEST: &'static [u8] = &BYTES;
                const ALLOCATOR: $crate::__private::Allocator = $crate::export_plugin!(@kind $allocator);

                fn start(&mut self, context: &$crate::Context<'_>) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).start(self, context)
                }

                fn stop(&mut self, context: &$crate::Context<'_>) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).stop(self, context)
                }

                fn snapshot(
                    &self,
                ) -> ::core::result::Result<::core::option::Option<::std::vec::Vec<u8>>, $crate::PluginError> {
                    ($snapshot)(self)
                }

                fn restore(&mut self, state: &[u8]) -> ::core::result::Result<(), $crate::PluginError> {
                    ($restore)(self, state)
                }
            }
        };

        #[cfg(not(test))]
        $crate::__replace_libc_symbols!();

        $crate::export_plugin! { @allocator $allocator }
    };
}
