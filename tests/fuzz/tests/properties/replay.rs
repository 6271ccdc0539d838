//! Every committed input of every fuzz target, without libFuzzer. `RESLOT_FUZZ_INPUT=FILE` replays one file alone; its folder
//! names the target.

use reslot_fuzz::TARGETS;
use std::{
    collections::BTreeSet,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// An input may take this long in a debug build on a busy machine. libFuzzer has a limit of its own.
const LONGEST: Duration = Duration::from_secs(20);
/// All corpora together.
const MOST_BYTES: u64 = 400 << 10;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    if let Some(file) = env::var_os("RESLOT_FUZZ_INPUT").map(PathBuf::from) {
        let names_target = file.parent().and_then(Path::file_name).is_some_and(|name| name == target);
        return names_target.then_some(file).into_iter().collect();
    }
    let mut files = Vec::new();
    for kind in ["corpus", "regressions"] {
        let folder = fuzz().join(kind).join(target);
        let found = fs::read_dir(&folder).into_iter().flatten();
        files.extend(found.map(|file| file.expect("a folder that can be read").path()));
    }
    files.sort();
    files
}

#[test]
fn every_committed_input_keeps_its_promises() {
    let mut failed = Vec::new();
    let mut replayed = 0;
    for (target, body) in TARGETS {
        for file in inputs(target) {
            let bytes = fs::read(&file).expect("an input");
            let begun = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| body(&bytes)));
            let took = begun.elapsed();
            if ended.is_err() || took > LONGEST {
                failed.push(format!(
                    "{target}: {} after {took:?}\n  to repeat it: RESLOT_FUZZ_INPUT={} cargo test -p reslot-fuzz replay",
                    file.display(),
                    file.display()
                ));
            }
            replayed += 1;
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(replayed > 0);
}

#[test]
fn each_target_has_a_program_and_seeds_and_nothing_is_left_over() {
    let known: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let names = |folder: &str| -> BTreeSet<String> {
        let found = fs::read_dir(fuzz().join(folder)).expect("a folder of fuzz/");
        let names = found.map(|file| file.expect("an entry").path());
        names
            .filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned()))
            .collect()
    };
    assert_eq!(names("fuzz_targets"), known);
    assert_eq!(names("corpus"), known);
    assert!(names("regressions").is_subset(&known));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    for name in &known {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "fuzz/Cargo.toml has no [[bin]] for {name}"
        );
        let source = fs::read_to_string(fuzz().join("fuzz_targets").join(format!("{name}.rs"))).expect("a source");
        assert!(
            source.contains(&format!("reslot_fuzz::{name}(")),
            "fuzz_targets/{name}.rs runs another body"
        );
    }
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|(target, _)| inputs(target))
        .map(|file| fs::metadata(file).expect("an input").len())
        .sum();
    assert!(
        bytes <= MOST_BYTES,
        "the inputs have {bytes} bytes: minimise them (`cargo xtask fuzz --minimise`)"
    );
}
