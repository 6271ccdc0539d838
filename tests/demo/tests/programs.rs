//! The programs behind `cargo xtask inspect`, `run` and `demo`, started as a user's terminal would start them.

#![forbid(unsafe_code)]

use reslot_tests::{Fixture, Folder, reslot_program};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn inspect(arguments: &[&Path]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(reslot_program())
        .arg("inspect")
        .args(arguments)
        .output()
        .expect("it starts");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn inspect_shows_a_good_artifact_and_accepts_it() {
    let (folder, momentum) = (Folder::new(), Fixture::build("momentum"));
    let file = folder.publish(momentum.file(), momentum.bytes());
    let (status, text) = inspect(&[&file]);
    assert_eq!(status, Some(0), "{text}");
    for expected in [
        "plugin      momentum 0.1.0",
        "trait Strategy 1.0 {",
        "    fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink);",
        "trait OrderSink 1.0 {",
        "struct Tick: size 24, align 8",
        "    at   8  bid: f64",
        "accepted: a host of this build loads it",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing from:\n{text}");
    }

    let (status, text) = inspect(&[&file, Path::new("--json")]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status, Some(0));
    assert_eq!(document["manifest"]["interface"]["methods"][1]["name"], "summary");
    assert_eq!(document["accepted"], true);
}

#[test]
fn inspect_refuses_a_text_file_with_the_remedy() {
    let folder = Folder::new();
    let file = folder.publish("notes.so", b"This is no library.\n");
    let (status, text) = inspect(&[&file]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("not an ELF file"), "{text}");
    assert!(text.contains("what to do: point the host at the .so"), "{text}");

    let (status, text) = inspect(&[Path::new("--json"), &file]);
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status, Some(1));
    assert_eq!(document["accepted"], false);
    assert_eq!(document["manifest"], serde_json::Value::Null);
}

#[test]
fn inspect_distinguishes_an_unreadable_file_from_a_refused_one() {
    let (status, text) = inspect(&[Path::new("/nowhere/libplugin.so")]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("/nowhere/libplugin.so"), "{text}");
    assert_eq!(inspect(&[]).0, Some(2));
}

/// `watch-folder` while it runs, and the lines that it prints.
struct Watching {
    program: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(folder: &Path) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_watch-folder"))
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = BufReader::new(program.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { program, lines }
    }

    /// Reads until a line has all of these parts; answers with it.
    fn expect(&self, parts: &[&str]) -> String {
        let (deadline, mut seen) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if parts.iter().all(|part| line.contains(part)) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {parts:?} came, only:\n{}", seen.join("\n")),
            }
        }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.program.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it reads");
    }

    fn terminate(mut self) {
        let pid = self.program.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
        assert!(sent.success());
        self.expect(&["Ended:", "nothing of them is mapped any more"]);
        let status = self.program.wait().expect("it ends");
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // After `terminate` there is nothing to kill.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The greeter with other words of the same length: another build.
fn with_other_words(greeter: &Fixture) -> Vec<u8> {
    let (old, new) = (b"Good day, ", b"Farewell, ");
    let mut bytes = greeter.bytes().to_vec();
    let places: Vec<usize> = (0..bytes.len() - old.len())
        .filter(|at| bytes[*at..].starts_with(old))
        .collect();
    assert!(!places.is_empty(), "the greeter says its words");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

#[test]
fn watch_folder_prints_a_reload_and_shows_which_code_answers() {
    let greeter = Fixture::build("greeter");
    let folder = Folder::new();
    let watching = Watching::start(folder.path());
    watching.expect(&["No plugin is loaded yet"]);

    folder.publish(greeter.file(), greeter.bytes());
    watching.expect(&["greeter: generation 1 is loaded in", "read ", "lint "]);
    watching.expect(&["answers \"Good day, you.\""]);

    folder.publish(greeter.file(), &with_other_words(&greeter));
    watching.expect(&["greeter: generation 2 replaced 1 in", "open "]);
    watching.expect(&["answers \"Farewell, you.\""]);
    watching.expect(&["greeter: generation 1 is gone: image proven unmapped (its last holder released it after "]);

    folder.publish("other.so", b"no library");
    watching.expect(&["refused: a file was refused at lint: not an ELF file"]);
    watching.expect(&["what to do: "]);
    watching.terminate();
}

#[test]
fn watch_folder_owns_a_strategy_and_hands_its_state_over() {
    let (momentum, pricer) = (Fixture::build("momentum"), Fixture::build("pricer"));
    let folder = Folder::new();
    folder.publish(momentum.file(), momentum.bytes());
    folder.publish(pricer.file(), pricer.bytes());
    let watching = Watching::start(folder.path());
    watching.expect(&["momentum: edition 1 answers: ", " 0 ticks seen"]);
    watching.expect(&["pricer: price of 1.00 / 2.00 is 1.5000, by model \"mid\""]);

    // Bytes after the end of the library make it another build.
    folder.publish(momentum.file(), &[momentum.bytes(), b"2"].concat());
    watching.expect(&["momentum: generation 2 replaced 1 in", "bytes of state", "migrate "]);
    let line = watching.expect(&["momentum: edition 1 answers: "]);
    assert!(!line.contains(" 0 ticks seen"), "{line}");
    watching.expect(&["momentum: generation 1 is gone: image proven unmapped"]);
    watching.terminate();
}

#[test]
fn watch_folder_answers_who_holds_each_generation() {
    let (greeter, momentum) = (Fixture::build("greeter"), Fixture::build("momentum"));
    let folder = Folder::new();
    let mut watching = Watching::start(folder.path());
    watching.expect(&["No plugin is loaded yet"]);
    watching.say("who-holds");
    watching.expect(&["No slot: nothing is loaded yet."]);
    folder.publish(greeter.file(), greeter.bytes());
    watching.expect(&["answers \"Good day, you.\""]);
    folder.publish(momentum.file(), momentum.bytes());
    watching.expect(&["momentum: edition 1 answers: "]);
    watching.say("who-holds");
    watching.expect(&["greeter"]);
    watching.expect(&["generation 1 serves (for "]);
    watching.expect(&["held by the slot itself"]);
    watching.expect(&["momentum"]);
    watching.expect(&["held by the claim of thread \"main\" (made ", "ago at "]);
    watching.say("who-holds nobody");
    watching.expect(&["No such slot: there are greeter, momentum."]);
    watching.say("what now");
    watching.expect(&["who-holds [SLOT]"]);
    watching.say("quit");
    watching.expect(&["Ended:", "nothing of them is mapped any more"]);
    assert_eq!(watching.program.wait().expect("it ends").code(), Some(0));
}

#[test]
fn watch_folder_waits_for_its_folder() {
    let parent = Folder::new();
    let folder = parent.path().join("later");
    let watching = Watching::start(&folder);
    watching.expect(&["does not exist; the host watches it as soon as it is created"]);
    std::fs::create_dir(&folder).expect("writable");
    watching.expect(&["exists again; its plugins are loaded"]);
    watching.terminate();
}

#[test]
fn the_demo_keeps_its_promises() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo"))
        .args(["--reloads", "20"])
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "+ const EDITION: u32 = 2;",
        "before, said by edition 1:",
        "after,  said by edition 2:",
        "ok      the old code is gone",
        "ok      no call failed",
        "Every promise was kept.",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing from:\n{text}");
    }
}
