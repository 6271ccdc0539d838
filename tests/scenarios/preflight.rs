//! Preflights in a child process: each fault that would end the host ends only the child, and the host gets an error.

use super::support::{PATIENCE, wait_until};
use reslot::{
    __preflight::preflight_as_hosts_do, Preflight, PreflightError, PreflightReport, PreflightStep, PrivateCopies, preflight,
};
use reslot_tests::{Fixture, Folder, preflight_program};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The stamps that `fx-births` knows, and one that it does not.
const GOOD: u64 = 0;
const CRASHES_WHEN_OPENED: u64 = 1;
const CRASHES: u64 = 2;
const ABORTS: u64 = 3;
const EXITS: u64 = 4;
const HANGS: u64 = 5;
const PANICS: u64 = 6;
const PRINTS: u64 = 7;
const LEAVES_A_THREAD: u64 = 8;
const LEAVES_A_PROCESS_AND_HANGS: u64 = 9;
const CLOSES_ALL_AND_HANGS: u64 = 10;
const PANICS_WHEN_DROPPED: u64 = 11;
const LEAVES_A_PROCESS: u64 = 12;
const PRINTS_WITHOUT_END: u64 = 13;

/// `{ "total": 7 }`, as a counter encodes it.
const STATE: &[u8] = b"\x81\xa5total\x07";

fn born(stamp: u64) -> (Folder, PathBuf) {
    let folder = Folder::new();
    let path = folder.publish("counter.so", &Fixture::build("fx-births").stamped(stamp));
    (folder, path)
}

fn with(program: impl Into<PathBuf>) -> Preflight {
    Preflight {
        program: Some(program.into()),
        timeout: PATIENCE,
    }
}

fn try_out(stamp: u64) -> Result<PreflightReport, PreflightError> {
    preflight(born(stamp).1, &with(preflight_program()))
}

fn try_out_with_state(fixture: &str, state: &[u8]) -> Result<PreflightReport, PreflightError> {
    let folder = Folder::new();
    let path = folder.publish("counter.so", Fixture::build(fixture).bytes());
    preflight_as_hosts_do(&path, &with(preflight_program()), None, Some((1, state)))
}

/// The timeout is increased until the artifact reaches the place where it hangs, also on a busy machine.
fn hung(stamp: u64) -> PreflightError {
    let (_folder, path) = born(stamp);
    for timeout in [1, 5, 30].map(Duration::from_secs) {
        let how = Preflight {
            timeout,
            ..with(preflight_program())
        };
        let error = preflight(&path, &how).unwrap_err();
        if matches!(&error, PreflightError::Hung { step: PreflightStep::Create, after, .. } if *after == timeout) {
            return error;
        }
        eprintln!("not yet: {error}");
    }
    panic!("it did not come to its constructor");
}

/// Another process writes the script: a child of a parallel test could inherit our descriptor, and a file that is open for
/// writing cannot be executed.
fn script(folder: &Folder, words: &str) -> PathBuf {
    let path = folder.path().join("program.sh");
    let mut writer = Command::new("sh");
    writer.args(["-c", r#"printf '#!/bin/sh\n%s\n' "$1" > "$0" && chmod 700 "$0""#]);
    assert!(writer.arg(&path).arg(words).status().unwrap().success());
    path
}

#[test]
fn a_good_one_goes_through_all_steps_and_is_unmapped() {
    let report = try_out(GOOD).unwrap();
    println!("{report}");
    let steps: Vec<_> = report.steps.iter().map(|(step, _)| *step).collect();
    use PreflightStep::{Create, Drop, Health, Init, Open, Unload, Verify};
    assert_eq!(steps, [Open, Verify, Create, Init, Health, Drop, Unload]);
    assert_eq!(report.stays_mapped, None);
    assert!(report.steps.iter().map(|(_, took)| *took).sum::<Duration>() <= report.total);
    assert!(report.to_string().contains("; unmapped"), "{report}");
}

#[test]
fn a_copy_in_memory_is_opened_as_well() {
    let (_folder, path) = born(GOOD);
    let copies = Some(PrivateCopies::Memory);
    let report = preflight_as_hosts_do(&path, &with(preflight_program()), copies, None).unwrap();
    assert_eq!(report.stays_mapped, None);
}

#[test]
fn child_refuses_what_the_host_would_refuse() {
    let folder = Folder::new();
    let path = folder.publish("probe.so", &Fixture::build("fx-makes-key-early").stamped(1));
    let error = preflight(path, &with(preflight_program())).unwrap_err();
    let PreflightError::Refused { step, reason } = &error else {
        panic!("{error}")
    };
    assert_eq!(*step, PreflightStep::Verify);
    assert!(reason.contains("static constructors"), "{reason}");
}

#[test]
fn the_program_is_found_where_cargo_puts_it() {
    preflight_program();
    let how = Preflight {
        program: None,
        timeout: PATIENCE,
    };
    preflight(born(GOOD).1, &how).unwrap();
}

#[test]
fn crashes_are_reported_with_their_step_and_last_words() {
    let error = try_out(CRASHES_WHEN_OPENED).unwrap_err();
    let PreflightError::Crashed { step, signal, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*step, *signal), (PreflightStep::Open, libc::SIGSEGV));
    assert!(error.blames_the_artifact());

    let error = try_out(CRASHES).unwrap_err();
    let PreflightError::Crashed {
        step,
        signal,
        last_words,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*step, *signal), (PreflightStep::Create, libc::SIGSEGV));
    assert_eq!(last_words.trim(), "about to write where nothing is");
    let words = error.to_string();
    assert!(
        words.contains("at create, with SIGSEGV (signal 11); its last output:"),
        "{words}"
    );

    let error = try_out(ABORTS).unwrap_err();
    let PreflightError::Crashed {
        step,
        signal,
        last_words,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*step, *signal), (PreflightStep::Create, libc::SIGABRT));
    assert!(last_words.contains("about to abort"), "{last_words:?}");
}

#[test]
fn an_exit_with_success_is_none() {
    let error = try_out(EXITS).unwrap_err();
    let PreflightError::Exited { step, code, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*step, *code), (PreflightStep::Create, 0));
    assert!(error.remedy().contains("would have ended the host"));
}

#[test]
fn child_that_hangs_is_killed() {
    assert!(hung(HANGS).blames_the_artifact());
}

#[test]
fn child_that_closes_everything_and_hangs_is_killed() {
    hung(CLOSES_ALL_AND_HANGS);
}

#[test]
fn child_that_prints_without_end_is_killed_and_only_its_last_output_is_kept() {
    let error = hung(PRINTS_WITHOUT_END);
    let PreflightError::Hung { last_words, .. } = error else {
        panic!("{error}")
    };
    assert!(last_words.len() <= 4 << 10, "{}", last_words.len());
    // It was killed while it printed, so its last line may be incomplete.
    assert!(last_words.contains("again\nagain\n"), "{last_words}");
}

#[test]
fn a_process_that_it_leaves_is_killed_with_it() {
    hung(LEAVES_A_PROCESS_AND_HANGS);
    assert_left_process_ends(LEAVES_A_PROCESS_AND_HANGS);
    // The process holds the pipes; the host does not wait for their end.
    try_out(LEAVES_A_PROCESS).unwrap();
    assert_left_process_ends(LEAVES_A_PROCESS);
}

/// Checks that it was killed; its new parent reaps it.
fn assert_left_process_ends(stamp: u64) {
    let note = std::env::temp_dir().join(format!("reslot-births-{}-{stamp}", std::process::id()));
    let number = fs::read_to_string(&note).unwrap();
    fs::remove_file(note).unwrap();
    let lives = || {
        let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let state = state.rsplit(") ").next().and_then(|rest| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    };
    wait_until(|| !lives(), "the end of the process that it left");
}

#[test]
fn a_panic_is_a_refusal_with_its_words() {
    let error = try_out(PANICS).unwrap_err();
    let PreflightError::Refused { step, reason } = &error else {
        panic!("{error}")
    };
    assert_eq!(*step, PreflightStep::Create);
    assert!(reason.contains("no configuration to begin with"), "{reason}");
    assert!(reason.contains("tests/fixtures/births/src/lib.rs:"), "{reason}");

    let error = try_out(PANICS_WHEN_DROPPED).unwrap_err();
    assert!(
        matches!(&error, PreflightError::Refused { step: PreflightStep::Drop, reason } if reason.contains("nothing was started")),
        "{error}"
    );
}

#[test]
fn output_of_the_plugin_is_not_part_of_the_protocol() {
    let report = try_out(PRINTS).unwrap();
    assert_eq!(report.steps.len(), 7, "{report}");
}

#[test]
fn a_thread_that_it_leaves_is_named() {
    let report = try_out(LEAVES_A_THREAD).unwrap();
    let why = report.stays_mapped.expect("a thread keeps it");
    assert!(why.contains("lingering"), "{why}");
}

#[test]
fn the_state_is_restored() {
    let report = try_out_with_state("fx-counter", STATE).unwrap();
    assert!(
        report.steps.iter().any(|(step, _)| *step == PreflightStep::Restore),
        "{report}"
    );

    let error = try_out_with_state("fx-counter", b"\x81\xa5tutal\x07").unwrap_err();
    let PreflightError::Refused { step, reason } = &error else {
        panic!("{error}")
    };
    assert_eq!(*step, PreflightStep::Restore);
    assert!(reason.contains("total"), "{reason}");
}

#[test]
fn large_state_blocks_no_caller() {
    let ballast = 100 << 20;
    let mut state = b"\x82\xa5total\x07\xa7ballast\xc6".to_vec();
    state.extend_from_slice(&u32::to_be_bytes(ballast));
    state.resize(state.len() + ballast as usize, 0);
    println!("{}", try_out_with_state("fx-counter", &state).unwrap());

    let (_folder, path) = born(CRASHES_WHEN_OPENED);
    let error = preflight_as_hosts_do(&path, &with(preflight_program()), None, Some((1, &state))).unwrap_err();
    assert!(
        matches!(
            &error,
            PreflightError::Crashed {
                step: PreflightStep::Open,
                ..
            }
        ),
        "{error}"
    );

    // This program does not read its input.
    let folder = Folder::new();
    let program = script(&folder, "exit 3");
    let error = preflight_as_hosts_do(&path, &with(program), None, Some((1, &state))).unwrap_err();
    assert!(matches!(&error, PreflightError::Program { .. }), "{error}");
}

#[test]
fn missing_program_is_reported_with_its_path() {
    let (_folder, path) = born(GOOD);
    let error = preflight(&path, &with("/nowhere/reslot-preflight")).unwrap_err();
    let PreflightError::Program { tried, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(tried, &[Path::new("/nowhere/reslot-preflight")]);
    assert!(error.remedy().contains("--bin reslot-preflight"), "{}", error.remedy());
    assert!(!error.blames_the_artifact());
}

#[test]
fn another_program_is_not_taken_for_ours() {
    let (folder, path) = born(GOOD);
    let ended = preflight(&path, &with("/bin/true")).unwrap_err();
    assert!(
        matches!(&ended, PreflightError::Program { why, .. } if why.contains("before its first message")),
        "{ended}"
    );
    let program = script(&folder, "echo for a person; exec sleep 1000");
    let chatting = preflight(&path, &with(program)).unwrap_err();
    assert!(
        matches!(&chatting, PreflightError::Protocol { heard, .. } if heard == "for a person"),
        "{chatting}"
    );
    let program = script(&folder, r#"echo '{"hello":{"build":"reslot 0.0.9"}}'; exec sleep 1000"#);
    let older = preflight(&path, &with(program)).unwrap_err();
    let PreflightError::OtherBuild { ours, theirs, .. } = &older else {
        panic!("{older}")
    };
    assert_eq!(theirs, "reslot 0.0.9");
    assert!(ours.contains(env!("CARGO_PKG_VERSION")), "{ours}");
    for error in [ended, chatting, older] {
        assert!(!error.blames_the_artifact() && !error.remedy().is_empty());
    }
}

#[test]
fn a_program_that_never_says_its_name_is_killed() {
    let (folder, path) = born(GOOD);
    let how = Preflight {
        timeout: Duration::from_millis(200),
        ..with(script(&folder, "exec sleep 1000"))
    };
    let error = preflight(&path, &how).unwrap_err();
    let begin = PreflightStep::Begin;
    assert!(
        matches!(&error, PreflightError::Hung { step, .. } if *step == begin),
        "{error}"
    );
    assert!(!error.blames_the_artifact());
}

#[test]
fn artifact_that_fails_the_lint_runs_in_no_process() {
    let (folder, how) = (Folder::new(), with("/nowhere/reslot-preflight"));
    let path = folder.publish("a.so", b"no library at all");
    let error = preflight(&path, &how).unwrap_err();
    assert!(matches!(&error, PreflightError::Lint(_)), "{error}");
    assert!(error.blames_the_artifact());
    let error = preflight(folder.path().join("b.so"), &how).unwrap_err();
    assert!(matches!(&error, PreflightError::Stage(_)), "{error}");
}
