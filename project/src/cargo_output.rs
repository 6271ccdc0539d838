//! Shows cargo's output on standard error only if cargo is slow. So a verb that only starts a program stays silent, and a
//! verb that compiles, or waits for the lock of another cargo, shows the progress.

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{Error, workspace::cargo};

/// How long cargo may work before its progress is shown.
const FAST: Duration = Duration::from_secs(1);

/// A program of a workspace, built if necessary.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// The manifest of the workspace.
    pub manifest: &'a Path,
    /// The program's package.
    pub package: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Whether it is built with optimisations.
    pub release: bool,
}

impl Program<'_> {
    /// Builds the program and returns its path. Cargo's progress is shown if the build takes longer than a second.
    ///
    /// # Errors
    /// If cargo cannot be started, or the build fails; cargo's messages are on standard error.
    pub fn build(self) -> Result<PathBuf, Error> {
        let mut command = cargo();
        command.args(["build", "--message-format=json-render-diagnostics", "--manifest-path"]);
        command
            .arg(self.manifest)
            .args(["--package", self.package, "--bin", self.name]);
        command.args(self.release.then_some("--release"));
        let mut found = None;
        let status = run(&mut command, Progress::IfSlow, |line| {
            let message: Option<Message> = serde_json::from_str(line).ok();
            let of_this = message.filter(|message| message.target.as_ref().is_some_and(|target| target.name == self.name));
            found = of_this.and_then(|message| message.executable).or(found.take());
        })?;
        match found {
            Some(program) if status.success() => Ok(program),
            _ => Err(Error::Program {
                program: self.name.to_owned(),
                status,
            }),
        }
    }
}

#[derive(Deserialize)]
struct Message {
    target: Option<MessageTarget>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct MessageTarget {
    name: String,
}

/// How much of cargo's progress is shown. Warnings and errors are always shown at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// All of it, with cargo's own bar on a terminal.
    All,
    /// Only progress after the first second.
    IfSlow,
}

/// Runs cargo and hands each line of its standard output to `line`.
pub(crate) fn run(command: &mut Command, progress: Progress, mut line: impl FnMut(&str)) -> Result<ExitStatus, Error> {
    let program = PathBuf::from(command.get_program());
    if progress == Progress::IfSlow {
        command.stderr(Stdio::piped());
        if io::stderr().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::io("start", &program))?;
    let shown = child.stderr.take().map(|stderr| show(stderr, io::stderr(), FAST));
    let output = child.stdout.take().into_iter();
    let lines = output.flat_map(|stdout| BufReader::new(stdout).lines());
    lines.map_while(Result::ok).for_each(|text| line(&text));
    let status = child.wait().map_err(Error::io("wait for", &program))?;
    if let Some(shown) = shown {
        // The thread ends with the pipe, and returns nothing.
        let _ = shown.join();
    }
    Ok(status)
}

/// Copies lines to `out`: progress only after `fast`, everything else at once. Ends with its source.
fn show(source: impl Read + Send + 'static, mut out: impl Write + Send + 'static, fast: Duration) -> JoinHandle<()> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let read = BufReader::new(source).lines().map_while(Result::ok);
        // If the receiver is dropped, the output is not needed any more.
        read.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    thread::spawn(move || {
        let shown_from = Instant::now() + fast;
        let mut held = Vec::new();
        loop {
            let next = match held.is_empty() {
                true => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => lines.recv_timeout(shown_from.saturating_duration_since(Instant::now())),
            };
            // A closed terminal must not end the build.
            let mut print = |line: String| drop(writeln!(out, "{line}"));
            match next {
                Ok(line) if is_progress(&line) && Instant::now() < shown_from => held.push(line),
                Ok(line) => {
                    held.drain(..).for_each(&mut print);
                    print(line);
                }
                Err(RecvTimeoutError::Timeout) => held.drain(..).for_each(print),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })
}

/// Whether a line is cargo's progress: a capitalised word that ends in the twelfth column.
fn is_progress(line: &str) -> bool {
    let plain = without_colours(line);
    let Some((word, rest)) = plain.split_at_checked(12) else {
        return false;
    };
    let word = word.trim_start();
    rest.starts_with(' ')
        && word.starts_with(|letter: char| letter.is_ascii_uppercase())
        && word.chars().all(|letter| letter.is_ascii_alphabetic())
}

/// The text without the escape sequences that set colours.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or("", |(_, text)| text));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_follows_the_compilers_messages() {
        assert!(is_progress("   Compiling greeter v0.1.0 (/w/plugins/greeter)"));
        assert!(is_progress("    Blocking waiting for file lock on build directory"));
        assert!(is_progress(
            "\u{1b}[1m\u{1b}[92m    Finished\u{1b}[0m `dev` profile [unoptimized] target(s) in 0.02s"
        ));
        assert!(!is_progress("warning: unused variable: `x`"));
        assert!(!is_progress("error[E0308]: mismatched types"));
        assert!(!is_progress("  --> plugins/greeter/src/lib.rs:17:39"));
        assert!(!is_progress("12 |     let x = 1;"));
    }

    /// Writes what it is given into a channel.
    struct Shown(mpsc::Sender<String>);

    impl Write for Shown {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(text).into_owned());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const WAITING: &str = "    Blocking waiting for file lock on build directory\n";

    #[test]
    fn a_wait_for_another_cargo_is_shown_while_it_lasts() {
        let (read, mut write) = io::pipe().expect("a pipe");
        let (sender, shown) = mpsc::channel();
        let thread = show(read, Shown(sender), Duration::from_millis(1));
        write.write_all(WAITING.as_bytes()).expect("it is read");
        // The pipe is still open: cargo still waits.
        let patience = Duration::from_secs(60);
        let mut text = String::new();
        while !text.contains("file lock") {
            text += &shown.recv_timeout(patience).expect("the wait is shown");
        }
        drop(write);
        thread.join().expect("it ends with the pipe");
    }

    #[test]
    fn fast_progress_is_not_shown_and_a_warning_is() {
        let text = format!("{WAITING}warning: unused variable\n");
        for (text, shows) in [(WAITING, ""), (text.as_str(), text.as_str())] {
            let (sender, shown) = mpsc::channel();
            let source = io::Cursor::new(text.as_bytes().to_vec());
            let thread = show(source, Shown(sender), Duration::from_secs(3600));
            thread.join().expect("it ends with its source");
            assert_eq!(shown.iter().collect::<String>(), shows);
        }
    }

    #[test]
    fn output_is_handed_over_line_by_line_and_the_status_is_the_programs() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; echo '   Compiling x v1' >&2; exit 3"]);
        let mut lines = Vec::new();
        let status = run(&mut command, Progress::IfSlow, |line| lines.push(line.to_owned())).expect("sh is there");
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(status.code(), Some(3));
    }
}
