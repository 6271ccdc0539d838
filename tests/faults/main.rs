//! System faults: each system call of a reload fails once, in turn, with each error that is plausible for it; the process is killed right
//! after each of them; and it is stopped for a while in the middle of each. A child process has the host, real plugins and callers
//! (`child`), and is traced (`tracer`); each run has a new child in new folders (`runs`).
//!
//! As a test it takes a sample. `cargo xtask faults` runs all, and stops the process for ten seconds.
//!
//! Only x86_64 has the registers that are changed here.

#[cfg(target_arch = "x86_64")]
mod calls;
#[cfg(target_arch = "x86_64")]
mod child;
#[cfg(target_arch = "x86_64")]
mod place;
#[cfg(target_arch = "x86_64")]
mod runs;
#[cfg(target_arch = "x86_64")]
mod tracer;
#[cfg(target_arch = "x86_64")]
mod verdict;

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    if let Some(place) = place::Place::of_environment() {
        return child::main(&place, std::env::var_os(runs::UNTRACED).is_none());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    runs::run(&runs::Options::of(&arguments))
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    println!("faults are injected on x86_64 only");
    ExitCode::SUCCESS
}
