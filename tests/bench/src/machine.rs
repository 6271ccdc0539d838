//! Describes in words on which machine and when the figures were measured.

use std::{fs, process::Command, thread};

/// The processor, how many of them, and the compiler.
pub(crate) fn machine() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!("{processor}, {cores} cores, {}", first_line("rustc", &["--version"]))
}

/// Today, as `date` says.
pub(crate) fn today() -> String {
    first_line("date", &["+%Y-%m-%d"])
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_else(|_| format!("unknown {program}"))
}
