//! The code that a Reslot host and its plugins share, without the host itself.
//!
//! Three roles use this crate. The author of an *interface* writes a trait under [`interface`] and plain data under
//! [`derive(Crossing)`](derive@Crossing). The author of a *plugin* implements that trait and exports the type with
//! [`export_plugin!`]. The *embedder* gets the typed client that the interface generated, and its [`CallError`]. No role
//! needs `unsafe`.
//!
//! ```
//! use reslot_plugin_api::{Crossing, interface};
//!
//! #[derive(Crossing)]
//! #[repr(C)]
//! pub struct Quote {
//!     pub bid: f64,
//!     pub ask: f64,
//! }
//!
//! #[interface]
//! pub trait Pricer {
//!     fn price(&self, quote: &Quote) -> f64;
//! }
//! # fn main() {}
//! ```

// A plugin in WebAssembly needs less of this crate than a host does, and users read the documentation of the host's target.
#![cfg_attr(target_arch = "wasm32", allow(dead_code, missing_docs))]

#[cfg(not(any(all(target_os = "linux", target_env = "gnu"), target_arch = "wasm32")))]
compile_error!(
    "Reslot proves unloading on Linux with glibc only: musl's dlclose does nothing, and macOS and Windows are not built yet"
);

#[cfg_attr(target_arch = "wasm32", path = "guest/attachment.rs")]
mod attachment;
mod backtrace;
mod clock;
mod crossing;
pub mod description;
mod error;
#[cfg_attr(target_arch = "wasm32", path = "guest/exports.rs")]
mod exports;
#[doc(hidden)]
pub mod guest;
#[cfg_attr(target_arch = "wasm32", path = "guest/inside.rs")]
mod inside;
mod interface;
#[cfg(not(target_arch = "wasm32"))]
mod linked;
mod manifest;
#[doc(hidden)]
pub mod marshal;
mod panic_payload;
#[cfg(not(target_arch = "wasm32"))]
mod peer;
mod plugin;
#[cfg_attr(target_arch = "wasm32", path = "guest/root.rs")]
mod root;
mod settings;
mod state;
#[cfg_attr(target_arch = "wasm32", path = "guest/std_types.rs")]
mod std_types;
mod text;
#[cfg(not(target_arch = "wasm32"))]
mod workers;

pub use backtrace::{Backtrace, Frame, Origin};
pub use clock::now;
pub use crossing::{Crossing, Returned};
pub use error::{CallError, EndCause, Fault, InstanceEnd, PluginError};
pub use interface::{Implements, Interface, Shared};
#[cfg(not(target_arch = "wasm32"))]
pub use linked::LinkedPlugin;
pub use manifest::{API_VERSION, MANIFEST_FORMAT, MANIFEST_SECTION, TARGET, TOOLCHAIN};
#[cfg(not(target_arch = "wasm32"))]
pub use peer::{LoadedPeer, Peer, PeerError, PeerErrorKind};
pub use plugin::{Context, Health, Plugin};
pub use reslot_plugin_macros::{Crossing, interface};
pub use settings::ConfigValue;
pub use state::{MAX_STATE_LEVELS, StateValue};
#[cfg(not(target_arch = "wasm32"))]
pub use workers::Stopping;

/// Code for the expansions of the macros and for the host. It is not for users and has no stability guarantee.
#[doc(hidden)]
pub mod __private {
    pub use crate::backtrace::Stack;
    pub use crate::exports::{Glue, Header};
    pub use crate::inside::memory::Allocator;
    pub use crate::interface::{
        Access, Answer, Borrowed, Callee, Connection, Lent, Owned, Passed, Status, StubsFor, TableFor, Unmovable, contain,
        foreign_panic, table_has,
    };
    pub use crate::manifest::{Manifest, SOURCES, lends_while_shared, names_slots};
    pub use crate::marshal;
    pub use crate::panic_payload::text_of as panic_text;
    pub use crate::plugin::{Hooks, Loadable, ViaDefault, ViaPlugin, restore_state, snapshot_state};
    pub use crate::root::{Buffer, BufferAbi, ContextAbi, HealthAbi, StateOutcome, Writer};
    pub use crate::settings::names_resources;
    pub use crate::state::{decode_state, read_state, state_bytes};
    pub use crate::std_types::{ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec};
    pub use crate::text::{LONGEST_TEXT, cut, cut_words};

    pub use reslot_plugin_macros::by_form;

    #[cfg(target_arch = "wasm32")]
    pub use crate::interface::Owned as Linked;
    #[cfg(not(target_arch = "wasm32"))]
    pub use native::*;

    #[cfg(not(target_arch = "wasm32"))]
    mod native {
        pub use crate::attachment::LinkedHost;
        pub use crate::inside::libc_symbols as replaced;
        #[cfg(reslot_explore)]
        pub use crate::inside::memory::exploration;
        pub use crate::inside::memory::{Counting, Freeing, Registry, give_back};
        pub use crate::inside::stack::left as stack_left;
        pub use crate::linked::{Linked, LinkedImage};
        pub use crate::root::{
            BoundsAbi, FaultAbi, HostTable, HostTableRef, LentAbi, LinkAbi, LoadedAbi, LogKind, LogRecord, LogValue, MAGIC,
            NO_PARENT, PanicRecord, PassAbi, PeerRefusalAbi, ROOT_SYMBOL, RemainsAbi, RequestAbi, Root, RootRef, SpanDeed,
            StateAnswer, VIRTUAL_KEYS, ValueKind,
        };

        pub use abi_stable::StableAbi;
        pub use abi_stable::prefix_type::WithMetadata;
    }
}
