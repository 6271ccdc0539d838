//! The reader's other terminals: programs that go on, and what they have printed so far.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// Longer than any build takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// Programs, and the lines that they print, in the order in which they come.
pub struct Terminals {
    programs: Vec<Child>,
    sender: Sender<String>,
    lines: Receiver<String>,
}

impl Default for Terminals {
    fn default() -> Self {
        let (sender, lines) = channel();
        Self {
            programs: Vec::new(),
            sender,
            lines,
        }
    }
}

impl Terminals {
    /// Starts a program, in a process group of its own: what it starts ends with it.
    pub fn start(&mut self, mut command: Command) {
        let command = command.process_group(0).stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash is there");
        let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        self.listen(BufReader::new(out));
        self.listen(BufReader::new(err));
        self.programs.push(child);
    }

    fn listen(&self, lines: impl BufRead + Send + 'static) {
        let sender = self.sender.clone();
        thread::spawn(move || lines.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
    }

    /// Waits until a line is printed that is as this one, in which `…` stands for anything.
    pub fn wait_for(&mut self, pattern: &str) {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if fits(line.trim(), pattern.trim()) => return,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("`{pattern}` was not printed; this was:\n{}", seen.join("\n"))
                }
            }
        }
    }
}

impl Drop for Terminals {
    fn drop(&mut self) {
        for mut child in self.programs.drain(..) {
            // As Ctrl-C in a terminal: to the whole group.
            let _ = Command::new("kill")
                .args(["-INT", "--", &format!("-{}", child.id())])
                .status();
            let _ = Command::new("kill")
                .args(["-KILL", "--", &format!("-{}", child.id())])
                .status();
            let _ = child.wait();
        }
    }
}

fn fits(line: &str, pattern: &str) -> bool {
    let parts: Vec<_> = pattern.split('…').map(str::trim).collect();
    let mut rest = line;
    for (at, part) in parts.iter().enumerate() {
        match rest.find(part) {
            Some(0) => rest = &rest[part.len()..],
            Some(found) if at > 0 => rest = &rest[found + part.len()..],
            _ => return false,
        }
    }
    parts.last().is_some_and(|last| last.is_empty()) || rest.is_empty()
}
