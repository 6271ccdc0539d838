//! `reslot-preflight`: the process in which a Reslot host tries an artifact out before the host opens it. A host starts it
//! and talks to it. You can also run it by hand: `reslot-preflight FILE`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    reslot::__preflight::child_main()
}
