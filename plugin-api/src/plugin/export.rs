//! The macro that makes a crate a plugin: its options, and what is placed in the plugin's crate.

/// Makes the crate a plugin: `export_plugin!(Momentum: dyn Strategy);`, once, in a crate with `crate-type = ["cdylib"]`, or with
/// `crate-type = ["cdylib", "rlib"]` if it is to be linked into programs as well.
///
/// The type must be `Default`, implement the interface's trait, and derive serde's `Serialize` and `Deserialize`: its value
/// is what the next generation starts from, nested up to [`MAX_STATE_LEVELS`](crate::MAX_STATE_LEVELS) deep. Lifecycle hooks are picked up if the type implements [`Plugin`](crate::Plugin).
/// Options follow the interface, in any order:
///
/// ```text
/// export_plugin!(Greeter: dyn Greet, stateless, name = "polite", allocator = freeing);
/// export_plugin!(Gateway: dyn Orders, schema = 3, migrates_from = 1, exclusive, uses = ["pricer", "risk"]);
/// ```
///
/// - `stateless`: the value may be forgotten. The type then needs no serde.
/// - `name = "…"`: the slot's name; otherwise it is the package's.
/// - `schema = 3`: the number of the state's schema, 1 if it is not given. Raise it with each change of the state after which an
///   older build's state cannot be decoded as it is, and teach [`Plugin::migrate`](crate::Plugin::migrate) the step. (A new field
///   with `#[serde(default)]` needs no new schema.)
/// - `migrates_from = 1`: the oldest schema from which `migrate` knows the way up, and to which it knows the way down; if it is not
///   given, that is `schema`, and a state of any other one is refused.
/// - `exclusive`: the plugin holds something of which there can be only one, a port or a device. Its predecessor is then stopped
///   before it is started, and started again should this one not start. An interface whose methods all take `&self` and of
///   which one answers a borrow cannot have it: nobody could tell when the last caller has given the borrow back.
/// - `uses = ["pricer", "risk"]`: the slots whose plugins it calls through the host.
/// - `resources = ["levels/one.txt"]`: files below the host's folder of resources that
///   [`Plugin::on_resource`](crate::Plugin::on_resource) is given.
/// - `allocator = counting`, the default: the plugin allocates from the system, and the host can say how much it has allocated,
///   and how much was left when it was unloaded. That costs nothing that could be felt.
/// - `allocator = freeing`: besides, what the plugin has left (`LazyLock`s and other statics, `Box::leak`, thread-locals of
///   threads that live on) is freed after its image is proven gone. Each block is larger by 16 bytes (by its alignment, if that is
///   more) and by its entry in a table of 16 bytes. Do not choose it if something that outlives the plugin keeps a pointer into its
///   memory: a C library that was given a buffer, say.
/// - `allocator = own`: the plugin has a `#[global_allocator]` of its own, or wants the plain one. Nothing is counted. The buffer of the
///   standard output, 1 KiB, comes from that allocator in each generation, and stays. (With the others it lies in the image.)
///
/// The macro also places, in the plugin's own crate, hidden replacements for the libc functions by which a Rust library
/// would tie itself to the process (`facts`: thread-local destructors, pthread keys, threads, mappings): without them an
/// image could not be unmapped. They and the allocator are left out of the crate's unit tests.
///
/// # Loaded or linked
/// The same source makes a library that a host loads and replaces, and a part of a program, for a release in which nothing is to be
/// replaced. Which of the two is made is decided by the crate types with which the crate is *compiled*:
///
/// | compiled as | by | the result |
/// |---|---|---|
/// | `cdylib` alone | `cargo xtask build-plugin momentum`, `Artifact::build("momentum")` of the testkit, or `cargo rustc -p momentum --lib --crate-type cdylib`; also `cargo build`, if `Cargo.toml` names no other type | a library that a host loads, with all that is described above |
/// | `rlib`, or both | cargo, for a program that depends on the plugin | a part of that program: no allocator, no replaced libc functions, no exported symbol, so that any number of plugins can be linked together |
///
/// In the second case the macro defines, where it stands, the constant `PLUGIN` of the type [`LinkedPlugin`](crate::LinkedPlugin): write the
/// macro at the root of the crate, and a program registers `momentum::PLUGIN` with its host. (A `cdylib` that cargo makes beside an `rlib`
/// is of no use to a host, which says that it has no manifest.) A program with the feature
///
/// ```toml
/// [features]
/// linked = ["dep:momentum"]
///
/// [dependencies]
/// momentum = { path = "../plugins/momentum", optional = true }
/// ```
///
/// loads its plugins while it is developed, and is released with `--features linked`. What is different for the plugin's code then:
/// - its statics and thread-locals are the program's. They are shared by all its slots and generations, and keep their values
///   when another generation begins;
/// - `allocator` has no effect. A `#[global_allocator]` of the plugin's own would be that of the whole program, which can have only one;
/// - what it logs goes to the program's subscriber and logger directly, whose filters apply. A subscriber of its own is not for such a plugin;
/// - the program's panic hook is told of its panics, as of all others;
/// - a thread that it starts by other means than [`Context::spawn`](crate::Context::spawn) is a thread of the program, of which the host
///   does not know.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty : $interface:ty $(, $($options:tt)*)?) => {
        $crate::export_plugin! { @options $plugin, $interface, () () () () () () () (); $($($options)*)? }
    };
    // The pairs of parentheses hold what was found so far: the state, the name, the allocator, the schema, the oldest one from
    // which it migrates, whether it is exclusive, what it uses, its resources.
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
    (@export $plugin:ty, $interface:ty, $state:expr, $name:tt, $allocator:tt, $only:tt, $uses:tt, $res:tt,
        $snapshot:expr, $restore:expr) => {
        const _: () = {
            #[cfg(panic = "abort")]
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
                #[cfg(not(test))]
                $crate::__replace_libc_symbols!();

                $crate::export_plugin! { @allocator $allocator }
            }
            linkable {
                /// This plugin, for the host of the program that it is linked into.
                #[cfg(not(test))]
                pub const PLUGIN: $crate::LinkedPlugin = $crate::LinkedPlugin::new::<$plugin, $interface>();
            }
        }
    };
}
