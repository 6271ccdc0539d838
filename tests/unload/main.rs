//! Tests the matrix of docs/unloading.md with the plugins of a debug build. It has its own main, because each cell runs in a
//! separate process: this program starts itself again, and calls the plugin on its main thread.
#![forbid(unsafe_code)]

use reslot_tests::{Profile, matrix};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(cell) = matrix::run_if_cell() {
        return cell;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    // As in other tests, an argument selects the names that contain it.
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let matrix = matrix::run(Profile::own(), only.map_or("", String::as_str));
    println!("{matrix}");
    println!(
        "{} cells in {:.1} s, after {:.1} s of building",
        matrix.tried(),
        matrix.took.as_secs_f64(),
        matrix.built_in.as_secs_f64()
    );
    match matrix.broken().len() {
        0 => ExitCode::SUCCESS,
        broken => {
            println!("{broken} are not as docs/unloading.md promises");
            ExitCode::FAILURE
        }
    }
}
