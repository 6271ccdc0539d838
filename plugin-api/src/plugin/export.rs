//! The macro that makes a crate a plugin: its options, and the code that it adds to the crate.

/// Makes the crate a plugin: `export_plugin!(Momentum: dyn Strategy);`, once, in a crate with `crate-type = ["cdylib"]`, or
/// with `crate-type = ["cdylib", "rlib"]` if programs link it as well.
///
/// The type must be `Default`, implement the interface's trait, and derive serde's `Serialize` and `Deserialize`: the next
/// generation starts from its value, which may be nested up to [`MAX_STATE_LEVELS`](crate::MAX_STATE_LEVELS) deep. If the
/// type implements [`Plugin`](crate::Plugin), its lifecycle hooks are used. Options follow the interface, in any order:
///
/// ```text
/// export_plugin!(Greeter: dyn Greet, stateless, name = "polite", allocator = freeing);
/// export_plugin!(Gateway: dyn Orders, schema = 3, migrates_from = 1, exclusive, uses = ["pricer", "risk"]);
/// ```
///
/// - `stateless`: the value is not handed over. The type then needs no serde.
/// - `name = "…"`: the slot's name. The default is the package's name.
/// - `schema = 3`: the number of the state's schema, 1 if it is not given. Increase it with each change after which an older
///   build's state cannot be decoded directly, and implement the step in [`Plugin::migrate`](crate::Plugin::migrate). (A new
///   field with `#[serde(default)]` needs no new schema.)
/// - `migrates_from = 1`: the oldest schema from which `migrate` can migrate up, and to which it can migrate down. The
///   default is `schema`; then a state of any other schema is refused.
/// - `exclusive`: the plugin holds something that exists only once, such as a port or a device. Then its predecessor is
///   stopped before it is started, and started again if this one cannot start. It is not allowed for an interface whose
///   methods all take `&self` and of which one returns a borrow, because the host could not know when the last caller has
///   released the borrow.
/// - `uses = ["pricer", "risk"]`: the slots whose plugins it calls through the host.
/// - `resources = ["levels/one.txt"]`: files below the host's folder of resources, for
///   [`Plugin::on_resource`](crate::Plugin::on_resource).
/// - `allocator = counting`, the default: the plugin allocates from the system, and the host knows how much it has
///   allocated, and how much was left when it was unloaded. The cost is negligible.
/// - `allocator = freeing`: in addition, the host frees the memory that the plugin has left (`LazyLock`s and other statics,
///   `Box::leak`, thread-locals of running threads) after its image is proven gone. Each block needs 16 more bytes (or its
///   alignment, if that is larger), and an entry of 16 bytes in a table. Do not use it if something that outlives the plugin
///   keeps a pointer into its memory, for example a C library with a buffer of the plugin.
/// - `allocator = own`: the plugin has its own `#[global_allocator]`, or uses the plain one. Nothing is counted. The
///   standard output's buffer of 1 KiB comes from that allocator in each generation, and stays allocated. (With the other
///   allocators it is in the image.)
///
/// The macro also adds hidden replacements for the libc functions by which a Rust library ties itself to the process
/// (thread-local destructors, pthread keys, threads, mappings) to the plugin's crate. Without them an image could not be
/// unmapped. The crate's unit tests do not have them or the allocator.
///
/// # Loaded or linked
///
/// From the same source you can build a library that a host loads and reloads, or a part of a program, for a release without
/// reloads. The crate types with which the crate is *compiled* decide between the two:
///
/// | compiled as | by | the result |
/// |---|---|---|
/// | `cdylib` alone | `cargo xtask build-plugin momentum`, `Artifact::build("momentum")` of the testkit, or `cargo rustc -p momentum --lib --crate-type cdylib`; also `cargo build`, if `Cargo.toml` names no other type | a library that a host loads, as described above |
/// | `rlib`, or both | cargo, for a program that depends on the plugin | a part of that program: no allocator, no replaced libc functions, no exported symbol, so that any number of plugins can be linked together |
///
/// In the second case the macro defines the constant `PLUGIN` of the type [`LinkedPlugin`](crate::LinkedPlugin). Write the
/// macro at the root of the crate, and a program can register `momentum::PLUGIN` with its host. (A host cannot load a
/// `cdylib` that cargo makes beside an `rlib`; it reports that the manifest is missing.) A program with the feature
///
/// ```toml
/// [features]
/// linked = ["dep:momentum"]
///
/// [dependencies]
/// momentum = { path = "../plugins/momentum", optional = true }
/// ```
///
/// loads its plugins during development, and is released with `--features linked`. For the plugin's code these things are
/// different then:
/// - its statics and thread-locals are the program's. All its slots and generations share them, and they keep their values
///   in the next generation;
/// - `allocator` has no effect. A `#[global_allocator]` of the plugin would be that of the whole program, which can have
///   only one;
/// - its logs go directly to the program's subscriber and logger, with their filters. Such a plugin must not install its own
///   subscriber;
/// - the program's panic hook runs for its panics, as for all others;
/// - a thread that it starts without [`Context::spawn`](crate::Context::spawn) is a thread of the program, and the host does
///   not know it.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty : $interface:ty $(, $($options:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, () () () () () () () (); $($($options)*)? }
    };
    // The pairs of parentheses contain the options that were parsed so far: state, name, allocator, schema, migrates_from,
    // exclusive, uses, resources.
    (@options $plugin:ty, $interface:ty, () $name:tt $alloc:tt $schema:tt $from:tt $only:tt $uses:tt $res:tt;
        stateless $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, (stateless) $name $alloc $schema $from $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt () $alloc:tt $schema:tt $from:tt $only:tt $uses:tt $res:tt;
        name = $name:literal $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state ($name) $alloc $schema $from $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt () $schema:tt $from:tt $only:tt $uses:tt $res:tt;
        allocator = counting $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name (Counting) $schema $from $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt () $schema:tt $from:tt $only:tt $uses:tt $res:tt;
        allocator = freeing $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name (Freeing) $schema $from $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt () $schema:tt $from:tt $only:tt $uses:tt $res:tt;
        allocator = own $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name (Own) $schema $from $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt () $from:tt $only:tt $uses:tt $res:tt;
        schema = $schema:literal $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name $alloc ($schema) $from $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt () $only:tt $uses:tt $res:tt;
        migrates_from = $from:literal $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name $alloc $schema ($from) $only $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt $from:tt () $uses:tt $res:tt;
        exclusive $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name $alloc $schema $from (exclusive) $uses $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt $from:tt $only:tt () $res:tt;
        uses = [$($used:literal),* $(,)?] $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name $alloc $schema $from $only (uses $($used)*) $res; $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt $from:tt $only:tt $uses:tt ();
        resources = [$($resource:literal),* $(,)?] $(, $($rest:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, $state $name $alloc $schema $from $only $uses (uses $($resource)*);
            $($($rest)*)? }
    };
    (@options $plugin:ty, $interface:ty, () $name:tt $alloc:tt $schema:tt $from:tt $only:tt $uses:tt $res:tt;) => {
        $crate::export_plugin! { @export $plugin, $interface,
            ::core::option::Option::Some({
                const SCHEMA: u32 = $crate::export_plugin!(@schema $schema);
                const OLDEST: u32 = $crate::export_plugin!(@oldest $schema $from);
                const _: () = ::core::assert!(SCHEMA >= 1, "`schema` counts from 1");
                const _: () = ::core::assert!(
                    SCHEMA == 0 || (OLDEST >= 1 && OLDEST <= SCHEMA),
                    "`migrates_from` is the oldest schema that `migrate` knows: at least 1, and not above `schema` (which is 1 if \
                     it is not given)"
                );
                (SCHEMA, OLDEST)
            }),
            $name, $alloc, $only, $uses, $res, $crate::__private::snapshot_state, $crate::__private::restore_state }
    };
    (@options $plugin:ty, $interface:ty, (stateless) $name:tt $alloc:tt () () $only:tt $uses:tt $res:tt;) => {
        $crate::export_plugin! { @export $plugin, $interface, ::core::option::Option::None, $name, $alloc, $only, $uses, $res,
            (|_, _| ::core::result::Result::Ok(false)), (|_, _| ::core::result::Result::Ok(())) }
    };
    (@options $plugin:ty, $interface:ty, (stateless) $name:tt $alloc:tt $schema:tt $from:tt $only:tt $uses:tt $res:tt;) => {
        ::core::compile_error!(
            "`schema` and `migrates_from` are of the state, and a plugin that is `stateless` has none: leave out the one or the other"
        );
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt () $schema:tt $from:tt $only:tt $uses:tt $res:tt; allocator $($rest:tt)*) => {
        ::core::compile_error!(
            "`allocator` is `counting` (the default), `freeing` (what the plugin leaves behind is freed) or `own` (it has a \
             `#[global_allocator]` of its own): `allocator = freeing`"
        );
    };
    (@options $plugin:ty, $interface:ty, $state:tt () $alloc:tt $schema:tt $from:tt $only:tt $uses:tt $res:tt; name $($rest:tt)*) => {
        ::core::compile_error!("`name` is given as a text: `name = \"momentum\"`");
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt () $from:tt $only:tt $uses:tt $res:tt; schema $($rest:tt)*) => {
        ::core::compile_error!("`schema` is given as a number: `schema = 3`");
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt () $only:tt $uses:tt $res:tt;
        migrates_from $($rest:tt)*) => {
        ::core::compile_error!("`migrates_from` is given as a number: `migrates_from = 1`");
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt $from:tt $only:tt () $res:tt; uses $($rest:tt)*) => {
        ::core::compile_error!("`uses` is given as a list of slots' names: `uses = [\"pricer\", \"risk\"]`");
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt $from:tt $only:tt $uses:tt ();
        resources $($rest:tt)*) => {
        ::core::compile_error!("`resources` is given as a list of files: `resources = [\"levels/one.txt\"]`");
    };
    (@options $plugin:ty, $interface:ty, $state:tt $name:tt $alloc:tt $schema:tt $from:tt $only:tt $uses:tt $res:tt;
        $wrong:tt $($rest:tt)*) => {
        ::core::compile_error!(::core::concat!(
            "`", ::core::stringify!($wrong), "` is no option of a plugin, or stands there twice: the options are `stateless`, \
             `name = \"…\"`, `schema = 3`, `migrates_from = 1`, `exclusive`, `uses = [\"…\"]`, `resources = [\"…\"]` and `allocator = counting | freeing | \
             own`, with commas between them"
        ));
    };
    (@schema ()) => { 1 };
    (@schema ($schema:literal)) => { $schema };
    (@oldest $schema:tt ()) => { $crate::export_plugin!(@schema $schema) };
    (@oldest $schema:tt ($from:literal)) => { $from };
    (@exclusive ()) => { false };
    (@exclusive (exclusive)) => { true };
    (@uses ()) => { &[] };
    (@uses (uses $($used:literal)*)) => { &[$($used),*] };
    (@allocator ()) => { $crate::export_plugin! { @allocator (Counting) } };
    (@allocator (Own)) => {};
    (@allocator ($allocator:ident)) => {
        #[cfg(not(any(test, target_arch = "wasm32")))]
        mod __reslot_allocator {
            #[global_allocator]
            static ALLOCATOR: $crate::__private::$allocator = $crate::__private::$allocator;
        }
    };
    (@kind ()) => { $crate::__private::Allocator::Counting };
    (@kind ($allocator:ident)) => { $crate::__private::Allocator::$allocator };
    (@name ()) => { ::core::env!("CARGO_PKG_NAME") };
    (@name ($name:literal)) => { $name };
    (@export $plugin:ty, $interface:ty, $state:expr, $name:tt, $allocator:tt, $only:tt, $uses:tt, $res:tt,
        $snapshot:expr, $restore:expr) => {
        const _: () = {
            // In WebAssembly a panic then ends the instance, and not the host.
            #[cfg(all(panic = "abort", not(target_arch = "wasm32")))]
            ::core::compile_error!(
                "a plugin must be built with panic = \"unwind\": with \"abort\" its panic would end the host"
            );

            const MANIFEST: $crate::__private::Manifest = $crate::__private::Manifest {
                name: $crate::export_plugin!(@name $name),
                version: ::core::env!("CARGO_PKG_VERSION"),
                state: $state,
                exclusive: $crate::export_plugin!(@exclusive $only),
                uses: $crate::export_plugin!(@uses $uses),
                resources: $crate::export_plugin!(@uses $res),
                interface: <$interface as $crate::Interface>::DESCRIPTION,
            };
            const _: () = ::core::assert!(
                !(MANIFEST.exclusive && $crate::__private::lends_while_shared(MANIFEST.interface)),
                "this plugin cannot be `exclusive`: it is stopped, which takes it mutably, before its successor is started, and a \
                 caller may then still hold what a method has lent it, since all methods of the interface take `&self` and one \
                 answers a borrow; let that method answer an owned value, or leave out `exclusive`"
            );
            const _: () = ::core::assert!(
                $crate::__private::names_slots(MANIFEST.uses),
                "`uses` lists names of slots, and a name is 1 to 64 of the characters A-Z a-z 0-9 _ -"
            );
            const _: () = ::core::assert!(
                $crate::__private::names_resources(MANIFEST.resources),
                "`resources` lists files below the host's folder of resources: relative, with `/` between the parts, without `.` and `..`"
            );
            const LEN: usize = MANIFEST.encoded_len();

            $crate::__private::by_form! {
                loadable {
                    #[used]
                    #[unsafe(link_section = ".reslot.manifest")]
                    static BYTES: [u8; LEN] = MANIFEST.encode();

                    #[used]
                    #[cfg_attr(not(test), unsafe(export_name = "reslot_root"))]
                    pub static ROOT: $crate::__private::Header = $crate::__private::Header::new::<$plugin, $interface>();
                }
                linkable {
                    static BYTES: [u8; LEN] = MANIFEST.encode();
                }
            }

            impl $crate::__private::Loadable for $plugin {
                const NAME: &'static str = MANIFEST.name;
                const MANIFEST: &'static [u8] = &BYTES;
                const ALLOCATOR: $crate::__private::Allocator = $crate::export_plugin!(@kind $allocator);

                fn init(&mut self, context: &$crate::Context<'_>) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).init(self, context)
                }

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

                fn on_config(
                    &mut self,
                    context: &$crate::Context<'_>,
                    config: &$crate::ConfigValue,
                ) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).on_config(self, context, config)
                }

                fn check_config(
                    context: &$crate::Context<'_>,
                    config: &$crate::ConfigValue,
                ) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).check_config(context, config)
                }

                fn on_resource(
                    &mut self,
                    context: &$crate::Context<'_>,
                    name: &str,
                    bytes: &[u8],
                ) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).on_resource(self, context, name, bytes)
                }

                fn health(&self, context: &$crate::Context<'_>) -> $crate::Health {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).health(self, context)
                }

                fn snapshot(
                    &self,
                    into: &mut $crate::__private::Writer<'_>,
                ) -> ::core::result::Result<bool, $crate::PluginError> {
                    ($snapshot)(self, into)
                }

                fn restore(&mut self, state: &[u8]) -> ::core::result::Result<(), $crate::PluginError> {
                    ($restore)(self, state)
                }

                fn migrate(
                    from: u32,
                    to: u32,
                    state: &mut $crate::StateValue,
                ) -> ::core::result::Result<(), $crate::PluginError> {
                    #[allow(unused_imports)]
                    use $crate::__private::{ViaDefault as _, ViaPlugin as _};
                    (&$crate::__private::Hooks::<$plugin>::new()).migrate(from, to, state)
                }
            }
        };

        $crate::__private::by_form! {
            loadable {
                #[cfg(not(any(test, target_arch = "wasm32")))]
                $crate::__replace_libc_symbols!();

                $crate::export_plugin! { @allocator $allocator }
            }
            linkable {
                /// This plugin, for the host of the program into which it is linked.
                #[cfg(not(test))]
                pub const PLUGIN: $crate::LinkedPlugin = $crate::LinkedPlugin::new::<$plugin, $interface>();
            }
        }
    };
}
