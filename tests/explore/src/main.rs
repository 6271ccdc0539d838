//! Runs models and simulations: see `cargo xtask explore --help`.

#[cfg(not(reslot_explore))]
fn main() -> std::process::ExitCode {
    eprintln!("this program explores nothing as it was built; run `cargo xtask explore`");
    std::process::ExitCode::from(2)
}

#[cfg(reslot_explore)]
fn main() -> std::process::ExitCode {
    reslot_explore::commands::main()
}
