//! `reslot-child`: the process in which a Reslot host runs one plugin, when the slot has the engine of `reslot-process`. A host starts it and
//! talks to it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    reslot_process::child_main()
}
