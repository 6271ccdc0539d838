//! Runs `build-plugin --watch` beside a program that has a screen of its own, and extracts the compiler's errors for that
//! screen.

use crate::Error;
use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// How many lines of an error are shown.
const LINES: usize = 8;

/// The running builder. Dropping this ends it.
pub struct Building {
    child: Arc<Mutex<Child>>,
    lines: Receiver<String>,
    error: Vec<String>,
    /// Whether the build of this error has ended. A later error belongs to another build.
    is_over: bool,
}

impl Building {
    /// Starts the builder, for instance `reslot build-plugin arcade --watch`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            pass_on(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            pass_on(stderr, sender);
        }
        Ok(Self {
            child: Arc::new(Mutex::new(child)),
            lines,
            error: Vec::new(),
            is_over: false,
        })
    }

    /// Starts the builder from a command line: a program and its arguments. None if the command line is empty.
    ///
    /// # Errors
    /// If it cannot be started, with the program's name.
    pub fn of(words: &[OsString]) -> Result<Option<Self>, Error> {
        let Some((program, arguments)) = words.split_first() else {
            return Ok(None);
        };
        let mut command = Command::new(program);
        command.args(arguments);
        Self::start(command).map(Some).map_err(Error::io("start", Path::new(program)))
    }

    /// A function that ends the builder from any thread, for a program that may end before it drops this.
    pub fn ender(&self) -> impl FnOnce() + Send + use<> {
        let child = self.child.clone();
        move || end(&child)
    }

    /// The first lines of the compiler's error; none after a good build.
    pub fn error(&self) -> Option<String> {
        (!self.error.is_empty()).then(|| self.error.join("\n"))
    }

    /// Reads the builder's new output. True if the error has changed.
    pub fn look(&mut self) -> bool {
        let mut changed = false;
        while let Ok(line) = self.lines.try_recv() {
            if self.is_over && line.starts_with("error") {
                self.error.clear();
                self.is_over = false;
            }
            self.is_over |= line.contains("was not built");
            let is_first = line.starts_with("error") && self.error.is_empty();
            if line.contains("  built in ") {
                changed |= !self.error.is_empty();
                self.error.clear();
            } else if is_first || (!self.error.is_empty() && self.error.len() < LINES) {
                self.error.push(line);
                changed = true;
            }
        }
        changed
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        end(&self.child);
    }
}

fn end(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

fn pass_on(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
}
