//! The host's side of a child process: starts it, watches it, kills it, and reaps it.
//!
//! Each child has one thread in the host. It reads what the child writes to its standard error stream and what it logs, waits for its end, and
//! reaps it. Then it wakes the thread that waits for an answer of the child. Nothing else reaps it, so its number is its own until then.

use crate::{channel::Channel, logs::Frame};
use reslot_plugin_api::EndCause;
use reslot_sync::{Condvar, Instant, Mutex, thread};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

/// How many bytes of the standard error stream are kept: the last ones.
const LAST_WORDS: usize = 4 << 10;
/// The longest line of the log's pipe.
const LONGEST_FRAME: usize = 1 << 20;
/// How much is read after the end of the process, at most: a process that it has started may go on writing to the pipes.
const MOST_AFTER_END: usize = 1 << 20;
/// How long a killed process may take to end. It can only take longer if the kernel does not let go of it.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// What a sandboxed child keeps of the environment.
const ENVIRONMENT: [&str; 4] = ["LD_LIBRARY_PATH", "RUST_BACKTRACE", "RUST_MIN_STACK", "TZ"];

/// A running child. Dropping this kills it; its thread reaps it.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    pub(crate) channel: Arc<Channel>,
    pid: u32,
    pidfd: OwnedFd,
    state: Arc<State>,
    /// The process of the host. A fork of it has a copy of this value, and must leave the child alone.
    host: u32,
}

#[derive(Debug, Default)]
struct State {
    end: Mutex<Option<End>>,
    has_ended: Condvar,
    last_words: Mutex<Vec<u8>>,
}

/// A child that has ended and was reaped. There is no status if the program ignores `SIGCHLD`, so that the kernel has reaped it.
#[derive(Debug, Clone, Copy)]
struct End(Option<ExitStatus>);

impl ChildProcess {
    /// Starts the program, which maps the channel's memory from its standard input.
    pub(crate) fn start(
        program: &Path,
        keeps_environment: bool,
        (channel, memory): (Channel, File),
        on_frame: impl Fn(Frame) + Send + 'static,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        if !keeps_environment {
            command.env_clear();
            command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        }
        let mut child = command
            .stdin(memory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        let opened = || {
            let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
            let pidfd = pidfd_open(number, PidfdFlags::empty())?;
            let ours = pidfd.try_clone()?;
            Ok::<_, io::Error>((number, pidfd, ours))
        };
        let (number, pidfd, ours) = opened().inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        let (channel, state) = (Arc::new(channel), Arc::<State>::default());
        let watched = Watched {
            log: child.stdout.take().map(OwnedFd::from).map(File::from),
            words: child.stderr.take().map(OwnedFd::from).map(File::from),
            line: Vec::new(),
            child,
            group: number,
            pidfd: ours,
            channel: channel.clone(),
            state: state.clone(),
        };
        let process = Self {
            channel,
            pid,
            pidfd,
            state,
            host: std::process::id(),
        };
        // If there is no thread, dropping `watched` reaps the child.
        thread::Builder::new()
            .name(format!("reslot-child-{pid}"))
            .spawn(move || watched.watch(&on_frame))?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended and was reaped.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.end.lock().is_some()
    }

    /// Kills it, and waits until it is reaped. Returns whether it is.
    pub(crate) fn kill(&self) -> bool {
        self.signal();
        self.wait(KILL_TIMEOUT)
    }

    fn signal(&self) {
        if std::process::id() == self.host {
            // By its descriptor, so that this can only be the child. An error means that it has ended.
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
    }

    /// Waits until it is reaped, and returns whether it is.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let deadline = Instant::now() + most;
        let mut end = self.state.end.lock();
        while end.is_none() {
            if self.state.has_ended.wait_until(&mut end, deadline).timed_out() {
                break;
            }
        }
        end.is_some()
    }

    /// The end of its standard error stream.
    pub(crate) fn last_words(&self) -> String {
        String::from_utf8_lossy(&self.state.last_words.lock()).into_owned()
    }

    /// Why it has ended by itself.
    pub(crate) fn end_cause(&self, memory: Option<u64>) -> EndCause {
        let last_words = self.last_words();
        match *self.state.end.lock() {
            Some(End(Some(status))) => match (status.signal(), memory) {
                // The standard library's words for an allocation that fails.
                (Some(libc::SIGABRT), Some(bytes)) if last_words.contains("memory allocation of ") => {
                    EndCause::MemoryLimit { bytes }
                }
                (Some(signal), _) => EndCause::Signal { signal, last_words },
                (None, _) => EndCause::Exited {
                    code: status.code().unwrap_or_default(),
                    last_words,
                },
            },
            _ => EndCause::Other {
                what: "its process has ended, and the system does not say how".to_owned(),
            },
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.signal();
    }
}

/// What a child's thread has.
struct Watched {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    /// None after the other end was closed; the same for `words`.
    log: Option<File>,
    words: Option<File>,
    /// What has come of the next line of the log.
    line: Vec<u8>,
    channel: Arc<Channel>,
    state: Arc<State>,
}

impl Watched {
    fn watch(mut self, on_frame: &dyn Fn(Frame)) {
        loop {
            let mut all = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
            all.extend(
                self.log
                    .iter()
                    .chain(&self.words)
                    .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
            );
            if poll(&mut all, None).is_err() {
                continue;
            }
            let has_ended = !all[0].revents().is_empty();
            if has_ended {
                break;
            }
            self.read(on_frame);
        }
        let mut left = MOST_AFTER_END;
        while left > 0 {
            match self.read(on_frame) {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        // Dropping it reaps the child.
    }

    /// Reads once from each pipe that has something, and returns the number of bytes.
    fn read(&mut self, on_frame: &dyn Fn(Frame)) -> usize {
        let mut buffer = [0; 16 << 10];
        let words = read_from(&mut self.words, &mut buffer);
        if words > 0 {
            // As if the plugin were in this process.
            let _ = io::stderr().write_all(&buffer[..words]);
            let mut last = self.state.last_words.lock();
            last.extend_from_slice(&buffer[..words]);
            let cut = last.len().saturating_sub(LAST_WORDS);
            last.drain(..cut);
        }
        let log = read_from(&mut self.log, &mut buffer);
        for byte in &buffer[..log] {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    if let Ok(frame) = serde_json::from_slice(&line) {
                        // The program's subscriber may panic, for which the plugin must not pay.
                        let _ = catch_unwind(AssertUnwindSafe(|| on_frame(frame)));
                    }
                }
                _ if self.line.len() < LONGEST_FRAME => self.line.push(*byte),
                _ => {}
            }
        }
        words + log
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The group first: before the child is reaped, no other process can have its number. An error means that nobody is left.
        let _ = kill_process_group(self.group, Signal::KILL);
        let end = End(self.child.wait().ok());
        *self.state.end.lock() = Some(end);
        self.channel.set_ended();
        self.state.has_ended.notify_all();
    }
}

/// Reads once, if there is something.
fn read_from(pipe: &mut Option<File>, buffer: &mut [u8]) -> usize {
    let Some(open) = pipe else { return 0 };
    let mut ready = [PollFd::new(&*open, PollFlags::IN)];
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ready, Some(&at_once)).is_err() || ready[0].revents().is_empty() {
        return 0;
    }
    match open.read(buffer) {
        Ok(0) => {
            *pipe = None;
            0
        }
        Ok(read) => read,
        Err(_) => 0,
    }
}
