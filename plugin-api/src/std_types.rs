//! Owned and borrowed values with a fixed layout, which cross between host and plugin in one process. A plugin in WebAssembly has
//! `guest/std_types.rs` instead.

pub use abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RStr, RString, RVec};
