//! What the scenario tests, the stress runs and the benchmarks share: fixture plugins built by cargo, stamped so that each
//! copy is another build, published as a user would, and the process looked at before and after.

mod fixture;
mod process;

pub use fixture::{Fixture, Folder};
pub use process::Footprint;
