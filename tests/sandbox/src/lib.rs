//! The tests of this package are in `wasm/`.
