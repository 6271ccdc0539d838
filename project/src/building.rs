//! The program that builds a plugin on each save, beside a program with a screen, and what of its words belongs on that.

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

/// The builder; it ends with this value.
pub struct Building {
    child: Arc<Mutex<Child>>,
    lines: Receiver<String>,
    error: Vec<String>,
    /// The build that the error is of has ended: another error is another build's.
    is_over: bool,
}

impl Building {
    /// Starts it, for instance `reslot build-plugin arcade --watch`.
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

    /// The same from a command line: a program and its arguments. None if there is none.
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

    /// Ends it, from any thread: for a program that may be ended before it drops this.
    pub fn ender(&self) -> impl FnOnce() + Send + use<> {
        let child = self.child.clone();
        move || end(&child)
    }

    /// What stands in the compiler's way, in its own first words; none if nothing does.
    pub fn error(&self) -> Option<String> {
        (!self.error.is_empty()).then(|| self.error.join("\n"))
    }

    /// Reads what the builder has said since, and answers whether that has changed anything.
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
