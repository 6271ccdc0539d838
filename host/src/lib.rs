//! Reslot swaps native code under a running program, and proves that the old code is gone.
//!
//! A program embeds a [`Host`]. A plugin is an ordinary Rust library behind a Rust trait; when a new build of it appears in
//! the watched folder, the running code is replaced, with its state, without a lost call. A program calls a plugin in one of
//! three ways:
//!
//! - with a [`Claim`]: one owner, `&mut self` methods; the owner adopts a new generation in [`Claim::sync`] and nowhere
//!   else;
//! - with a [`View`] from a [`Reader`]: many threads, `&self` methods, one consistent set of generations;
//! - with [`Slot::load`]: the convenient form, without a reader.
//!
//! Every reload ends in an [`Event::Retired`] that says whether the old image was proven unmapped, or what keeps it.
//!
//! Reslot needs Linux with glibc. The repository's README and `docs/unloading.md` say what is proven there, and how.

#![forbid(unsafe_code)]

pub use reslot_runtime::*;

#[cfg(feature = "config")]
#[doc(inline)]
pub use reslot_config as config;
#[cfg(feature = "control")]
#[doc(inline)]
pub use reslot_control as control;
#[cfg(feature = "metrics")]
#[doc(inline)]
pub use reslot_metrics as metrics;

/// Only for the program `reslot-preflight` and the tests.
#[doc(hidden)]
pub use reslot_runtime::__preflight;
