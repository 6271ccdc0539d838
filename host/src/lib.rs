//! Reslot swaps native code under a running program, and proves that the old code is gone.
//!
//! A program embeds a [`Host`]. A plugin is an ordinary Rust library behind a Rust trait; when a new build of it appears in the
//! watched folder, the running code is replaced, with its state, without a lost call. Whoever calls a plugin does so in one of
//! three ways:
//!
//! - a [`Claim`]: one owner, `&mut self` methods, and a new generation is adopted in [`Claim::sync`] and nowhere else;
//! - a [`View`] from a [`Reader`]: many threads, `&self` methods, one consistent set of generations;
//! - [`Slot::load`]: the convenient form, without a reader.
//!
//! Every reload ends in an [`Event::Retired`] that says whether the old image was proven unmapped, or what keeps it.
//!
//! Linux with glibc. What is proven there and how is written in the repository's README and ARCHITECTURE.md.

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

/// For the program `reslot-preflight` and the tests, and for nobody else.
#[doc(hidden)]
pub use reslot_runtime::__preflight;
