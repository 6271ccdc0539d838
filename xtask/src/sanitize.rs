//! `cargo xtask sanitize address|thread|valgrind|miri`: runs long tests under tools that watch each access to memory. Each has its own
//! target folder, and needs parts that `cargo xtask test` does not: the verb says which of them are missing, and how to get them.
//! docs/testing.md says what they cannot see.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};

#[derive(clap::Args)]
pub struct Arguments {
    /// The tool
    #[arg(value_enum, default_value_t = Tool::Address)]
    tool: Tool,
    /// Which tests: names of the tool's test programs or crates [default: all of them]
    only: Vec<String>,
    /// The number of reloads of the soak [default: as many as the tool makes in some minutes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..))]
    reloads: Option<u64>,
    /// For how many seconds slots are called and changed at random
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Of the unload matrix only behaviours whose names contain these words
    #[arg(long, value_name = "WORDS")]
    rows: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Tool {
    /// AddressSanitizer with leak detection: the soak and the unload matrix, host and plugins
    Address,
    /// ThreadSanitizer: the same, with a std that is compiled for it
    Thread,
    /// valgrind's memcheck: the same, with the usual builds
    Valgrind,
    /// Miri: tests of the crates that read manifests, encode states and cross the boundary between host and plugin
    Miri,
}

/// Files beside the sources that tell a tool what is intended.
fn suppressions(tool: &str) -> PathBuf {
    crate::repository().join("xtask/data").join(format!("{tool}.supp"))
}

/// The only target on which the tests run so far.
const TARGET: &str = "x86_64-unknown-linux-gnu";

pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.tool {
        Tool::Address => sanitized("address", &[], &arguments),
        Tool::Thread => {
            needs_component("rust-src", "lib/rustlib/src/rust/library/std/Cargo.toml")?;
            sanitized("thread", &[("CARGO_UNSTABLE_BUILD_STD", "std,panic_unwind")], &arguments)
        }
        Tool::Valgrind => valgrind(&arguments),
        Tool::Miri => {
            needs_component("miri", "bin/cargo-miri")?;
            needs_component("rust-src", "lib/rustlib/src/rust/library/std/Cargo.toml")?;
            miri(&arguments.only)
        }
    }
}

/// cargo of the nightly toolchain, with a target folder for this tool.
fn nightly(tool: &str) -> anyhow::Result<Command> {
    nightly_folder()?;
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    command.current_dir(crate::repository());
    // What `cargo xtask` has set is of its own toolchain.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "RUSTFLAGS"] {
        command.env_remove(variable);
    }
    command.env("CARGO_TARGET_DIR", crate::repository().join("target/sanitize").join(tool));
    Ok(command)
}

/// Where the nightly toolchain is.
fn nightly_folder() -> anyhow::Result<PathBuf> {
    let answer = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--print", "sysroot"])
        .output();
    let answer = answer.context("there is no rustup: install it, and `rustup toolchain install nightly`")?;
    ensure!(
        answer.status.success(),
        "there is no nightly toolchain: `rustup toolchain install nightly`"
    );
    Ok(PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim()))
}

fn needs_component(component: &str, file: &str) -> anyhow::Result<()> {
    let folder = nightly_folder()?;
    ensure!(
        folder.join(file).exists(),
        "the nightly toolchain has no {component}: `rustup component add {component} --toolchain nightly`"
    );
    Ok(())
}

/// The known names that were asked for, or all.
fn programs<'a>(only: &'a [String], known: &[&'a str]) -> anyhow::Result<Vec<&'a str>> {
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("{unknown:?} is not run under this tool; these are: {}", known.join(", "));
    }
    Ok(known
        .iter()
        .copied()
        .filter(|name| only.is_empty() || only.iter().any(|wanted| wanted == name))
        .collect())
}

/// The test programs that run under a sanitizer or valgrind.
const PROGRAMS: [&str; 2] = ["soak", "unload"];

/// Sets the variables that shorten the tests, and the filters.
fn shorten(command: &mut Command, program: &str, arguments: &Arguments, reloads: u64) {
    command.env("RESLOT_SOAK_RELOADS", arguments.reloads.unwrap_or(reloads).to_string());
    command.env("RESLOT_SOAK_SECONDS", arguments.seconds.to_string());
    if let Some(rows) = arguments.rows.as_ref().filter(|_| program == "unload") {
        command.args(["--", rows]);
    }
}

fn sanitized(tool: &str, variables: &[(&str, &str)], arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut worst = ExitCode::SUCCESS;
    for program in programs(&arguments.only, &PROGRAMS)? {
        let mut command = nightly(tool)?;
        command
            .args(["test", "--locked", "--package", "reslot-tests", "--test", program])
            // With a named target, build scripts and macros are compiled as usual.
            .env("CARGO_BUILD_TARGET", TARGET)
            .env("RUSTFLAGS", format!("-Zsanitizer={tool} -Cforce-frame-pointers=yes"))
            .envs(variables.iter().copied());
        for (variable, options) in options(tool, program) {
            command.env(variable, options);
        }
        shorten(&mut command, program, arguments, 1_000);
        if !passes(command)? {
            worst = ExitCode::FAILURE;
        }
    }
    Ok(worst)
}

/// How each tool is configured.
fn options(tool: &str, program: &str) -> Vec<(&'static str, String)> {
    let suppressed = |name| suppressions(name).display().to_string();
    match tool {
        "address" => {
            // Some plugins of the matrix leave memory on purpose (their statics, with the usual allocator), and the leak detection cannot
            // name code that is unmapped, so it cannot be told which.
            let leaks = u8::from(program != "unload");
            vec![
                // What an image has allocated with libc's allocator may lie in quarantine after its end, and counts as resident.
                (
                    "ASAN_OPTIONS",
                    format!("detect_leaks={leaks}:quarantine_size_mb=8:detect_stack_use_after_return=0"),
                ),
                (
                    "LSAN_OPTIONS",
                    format!("suppressions={}:print_suppressions=0", suppressed("lsan")),
                ),
            ]
        }
        _ => vec![("TSAN_OPTIONS", format!("suppressions={}:history_size=4", suppressed("tsan")))],
    }
}

fn valgrind(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let found = Command::new("valgrind").arg("--version").output();
    ensure!(
        found.is_ok_and(|answer| answer.status.success()),
        "there is no valgrind: install the package `valgrind`"
    );
    let mut worst = ExitCode::SUCCESS;
    for program in programs(&arguments.only, &PROGRAMS)? {
        let mut command = xtask::cargo();
        command
            .current_dir(crate::repository())
            .args(["test", "--locked", "--package", "reslot-tests", "--test", program])
            .env(
                "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
                runner(&suppressions("valgrind")),
            );
        shorten(&mut command, program, arguments, 50);
        if !passes(command)? {
            worst = ExitCode::FAILURE;
        }
    }
    Ok(worst)
}

fn runner(suppressions: &Path) -> String {
    format!(
        "valgrind --quiet --error-exitcode=99 --trace-children=yes --trace-children-skip=*/cargo,*/rustc --leak-check=no --suppressions={}",
        suppressions.display()
    )
}

/// The tests that Miri can run: a crate, cargo's arguments, and those for the tests. It knows neither backtraces nor the size of a stack,
/// and needs half a minute for each library that is linted.
const UNDER_MIRI: [(&str, &[&str], &[&str]); 3] = [
    ("reslot-artifact", &["--lib"], &["--skip", "lint::"]),
    (
        "reslot-plugin-api",
        &["--test", "linked"],
        &[
            "--skip",
            "logs::",
            "--skip",
            "panics::",
            "--skip",
            "peers::",
            "--skip",
            "panic_of_a_thread",
        ],
    ),
    ("reslot-plugin-api", &["--test", "round_trip"], &["--skip", "panics::"]),
];

fn miri(only: &[String]) -> anyhow::Result<ExitCode> {
    let wanted = programs(only, &UNDER_MIRI.map(|(package, ..)| package))?;
    let mut worst = ExitCode::SUCCESS;
    for (package, which, tests) in UNDER_MIRI {
        if !wanted.contains(&package) {
            continue;
        }
        let mut command = nightly("miri")?;
        command
            .args(["miri", "test", "--locked", "--package", package])
            .args(which)
            .arg("--")
            .args(tests)
            .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-permissive-provenance");
        if !passes(command)? {
            worst = ExitCode::FAILURE;
        }
    }
    Ok(worst)
}

fn passes(mut command: Command) -> anyhow::Result<bool> {
    let status = command.status();
    let status = status.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    Ok(status.success())
}
