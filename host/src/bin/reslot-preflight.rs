//! `reslot-preflight`: the process in which a Reslot host tries an artifact out before it opens it itself. A host starts it and
//! talks to it; a person may give it a file: `reslot-preflight FILE`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    reslot::__preflight::child_main()
}
