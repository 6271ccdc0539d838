//! The verbs of `reslot-project`: they make projects and plugins, and build plugins.

use crate::exit::{Exit, Failure};
use reslot_plugin_api::API_VERSION;
use reslot_project::verbs::{Caller, Crates};
use std::{fmt::Display, process::ExitCode};

/// Describes this program to the verbs `new-project`, `new-plugin` and `build-plugin`. The packages that they write depend on the same version of
/// Reslot as this program.
const CALLER: Caller = Caller {
    command: "reslot",
    crates: Crates::Registry {
        reslot: env!("CARGO_PKG_VERSION"),
        plugin_api: API_VERSION,
    },
};

/// Runs one of these verbs.
pub fn run<E: Display>(verb: impl FnOnce(&Caller) -> Result<ExitCode, E>) -> ExitCode {
    verb(&CALLER).unwrap_or_else(|error| Failure::Other(Exit::Refused, format!("{error:#}")).print().into())
}
