//! The matrix of unloading, for each profile in turn: the table, the broken promises of docs/unloading.md, and a summary.

use reslot_tests::{Profile, matrix};
use std::process::ExitCode;

/// Exit status 0 only if every cell is as promised; `None` if the arguments are not understood.
pub fn run(arguments: &[&str]) -> Option<ExitCode> {
    let (profiles, rest) = match arguments {
        ["--profile", name, rest @ ..] => (vec![Profile::named(name)?], rest),
        rest => (Profile::ALL.to_vec(), rest),
    };
    let only = match rest {
        [] => "",
        [words] if !words.starts_with('-') => words,
        _ => return None,
    };
    println!("behaviours of plugins, calling threads, and what happens to the code (docs/unloading.md)\n");
    let mut broken = Vec::new();
    for profile in profiles {
        println!("{}: building the plugins", profile.name());
        let matrix = matrix::run(profile, only);
        if matrix.tried() == 0 {
            eprintln!("no behaviour has {only:?} in its name");
            return Some(ExitCode::from(2));
        }
        println!("\n{matrix}");
        println!(
            "{}: {} cells, each a process of its own, in {:.1} s, after {:.1} s of building\n",
            profile.name(),
            matrix.tried(),
            matrix.took.as_secs_f64(),
            matrix.built_in.as_secs_f64()
        );
        if !matrix.broken().is_empty() {
            broken.push(format!("{} in {}", matrix.broken().len(), profile.name()));
        }
    }
    if broken.is_empty() {
        println!("ok: every cell is as docs/unloading.md promises");
        return Some(ExitCode::SUCCESS);
    }
    println!(
        "FAILED: cells that are not as docs/unloading.md promises: {}",
        broken.join(", ")
    );
    Some(ExitCode::FAILURE)
}
