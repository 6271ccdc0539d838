//! The child process of a preflight, as the host sees it. The process may do anything: crash, hang, print without end, close its
//! descriptors, leave children of its own. One thread of the host reads from it, and waits at most until the deadline.

use reslot_sync::Instant;
use reslot_system::awake::{self, Limit};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid},
};
use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

/// How many bytes of the standard error stream are kept: the last ones.
const LAST_WORDS: usize = 4 << 10;
/// The maximum length of a line of the protocol.
const MAX_LINE: usize = 1 << 20;
/// How many bytes are read after the end of the process, at most: a child of it may go on writing to the pipes.
const MAX_DRAINED: usize = 1 << 20;
/// How often the host asks whether the process has ended, on kernels without pidfds (before Linux 5.3).
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// An event of the process.
pub(super) enum ChildEvent {
    /// A line, without its end.
    Line(Vec<u8>),
    /// A line that is longer than `MAX_LINE`.
    LineTooLong,
    /// The process has ended.
    Ended(ExitStatus),
    /// The deadline has passed.
    TimedOut,
}

/// The process, its group, and the pipes to it. Dropping this kills the group and reaps the process.
pub(super) struct PreflightChild {
    child: Child,
    group: Option<Pid>,
    /// Readable after the process has ended. None without pidfds.
    pidfd: Option<OwnedFd>,
    /// None after the other end was closed; the same for `stderr`.
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// The bytes of the standard output that `next` has not returned yet.
    stdout_buffer: Vec<u8>,
    stderr_buffer: Vec<u8>,
    ended: bool,
}

impl PreflightChild {
    /// Starts the program, in a process group of its own, with this input.
    pub(super) fn start(program: &Path, input: File) -> io::Result<Self> {
        let mut child = Command::new(program)
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = group.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            child,
            group,
            pidfd,
            stdout,
            stderr,
            stdout_buffer: Vec::new(),
            stderr_buffer: Vec::new(),
            ended: false,
        })
    }

    /// Waits for the next event. The order is: pending lines, then the end of the process, then the limit.
    pub(super) fn next(&mut self, limit: Limit) -> io::Result<ChildEvent> {
        loop {
            if let Some(end) = self.stdout_buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.stdout_buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.stdout_buffer, rest);
                line.pop();
                return Ok(ChildEvent::Line(line));
            }
            if self.stdout_buffer.len() > MAX_LINE {
                return Ok(ChildEvent::LineTooLong);
            }
            if self.ended {
                return self.kill_and_reap().map(ChildEvent::Ended);
            }
            let left = limit.slice();
            let ended = awake::watch(Instant::now() + left, || self.listen(left))?;
            if ended {
                self.drain()?;
                self.ended = true;
            } else if left.is_zero() && !self.stdout_buffer.contains(&b'\n') {
                // Kill the process first, and then read its last words from the pipe: otherwise it could go on printing. Its exit
                // status is not needed.
                let _ = self.kill_and_reap();
                self.drain()?;
                return Ok(ChildEvent::TimedOut);
            }
        }
    }

    /// The end of its standard error stream.
    pub(super) fn last_words(&self) -> String {
        let mut words = &self.stderr_buffer[self.stderr_buffer.len().saturating_sub(LAST_WORDS)..];
        // The cut may split a character.
        if self.stderr_buffer.len() > LAST_WORDS {
            while let [0x80..0xc0, rest @ ..] = words {
                words = rest;
            }
        }
        String::from_utf8_lossy(words).into_owned()
    }

    /// Kills the process group, and then reaps the process. In this order: before it is reaped, no other process can have its number.
    pub(super) fn kill_and_reap(&mut self) -> io::Result<ExitStatus> {
        if let Some(group) = self.group.take() {
            // An error means that the group has no process any more.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.child.wait()
    }

    /// Waits until there is something to read, reads it, and returns whether the process has ended.
    fn listen(&mut self, left: Duration) -> io::Result<bool> {
        let wait = match &self.pidfd {
            Some(_) => left,
            None => left.min(POLL_INTERVAL),
        };
        let ready = self.wait(wait)?;
        if ready {
            self.read()?;
        }
        match (&self.pidfd, self.group) {
            (Some(pidfd), _) => Ok(is_ready(pidfd)?),
            (None, Some(pid)) => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                match waitid(WaitId::Pid(pid), options) {
                    Ok(status) => Ok(status.is_some()),
                    // The host's program ignores SIGCHLD, so the kernel has reaped the child.
                    Err(Errno::CHILD) => Ok(true),
                    Err(error) => Err(error.into()),
                }
            }
            (None, None) => Ok(true),
        }
    }

    /// Waits for any event. Returns whether there is something to read.
    fn wait(&self, left: Duration) -> io::Result<bool> {
        let mut all = Vec::with_capacity(3);
        all.extend(self.stdout.as_ref().map(|stdout| PollFd::new(stdout, PollFlags::IN)));
        all.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr, PollFlags::IN)));
        let pipes = all.len();
        all.extend(self.pidfd.as_ref().map(|pidfd| PollFd::new(pidfd, PollFlags::IN)));
        wait_for(&mut all, left)?;
        Ok(all[..pipes].iter().any(|one| !one.revents().is_empty()))
    }

    fn has_more(&self) -> io::Result<bool> {
        let stdout = self.stdout.as_ref().map(AsFd::as_fd);
        let stderr = self.stderr.as_ref().map(AsFd::as_fd);
        for pipe in stdout.into_iter().chain(stderr) {
            if is_ready(&pipe)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the rest of the pipes after the end of the process.
    fn drain(&mut self) -> io::Result<()> {
        let mut drained = 0;
        while drained < MAX_DRAINED && self.has_more()? {
            drained += self.read()?;
        }
        Ok(())
    }

    /// Reads once from each pipe that has something, and closes a pipe whose other end is closed. Returns the number of bytes.
    fn read(&mut self) -> io::Result<usize> {
        let from_stdout = read_from(&mut self.stdout, &mut self.stdout_buffer)?;
        let from_stderr = read_from(&mut self.stderr, &mut self.stderr_buffer)?;
        if self.stderr_buffer.len() > 8 * LAST_WORDS {
            self.stderr_buffer.drain(..self.stderr_buffer.len() - LAST_WORDS);
        }
        Ok(from_stdout + from_stderr)
    }
}

impl Drop for PreflightChild {
    fn drop(&mut self) {
        let _ = self.kill_and_reap();
    }
}

/// Reads once, if there is something.
fn read_from<Pipe: Read + AsFd>(from: &mut Option<Pipe>, into: &mut Vec<u8>) -> io::Result<usize> {
    let Some(pipe) = from else {
        return Ok(0);
    };
    if !is_ready(pipe)? {
        return Ok(0);
    }
    let mut buffer = [0; 16 << 10];
    // The pipe is ready, so this does not block. A signal may come nevertheless: then the caller looks at the pipe again.
    let read = match pipe.read(&mut buffer) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(0),
        read => read?,
    };
    into.extend_from_slice(&buffer[..read]);
    if read == 0 {
        *from = None;
    }
    Ok(read)
}

fn is_ready(one: &impl AsFd) -> io::Result<bool> {
    let mut one = [PollFd::new(one, PollFlags::IN)];
    wait_for(&mut one, Duration::ZERO)?;
    Ok(!one[0].revents().is_empty())
}

fn wait_for(all: &mut [PollFd<'_>], left: Duration) -> io::Result<()> {
    let left = Timespec::try_from(left).ok();
    match poll(all, left.as_ref()) {
        // After a signal the caller checks the clock and waits again.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pipe that a signal interrupts before it gives something.
    struct Interrupted(File, bool);

    impl AsFd for Interrupted {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Read for Interrupted {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match std::mem::replace(&mut self.1, false) {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => self.0.read(into),
            }
        }
    }

    #[test]
    fn signal_during_a_read_is_no_failure() {
        let file = reslot_stage::memory_holding(c"read", &[b"said"]).expect("there is memory");
        let (mut pipe, mut said) = (Some(Interrupted(file, true)), Vec::new());
        assert_eq!(read_from(&mut pipe, &mut said).expect("it was only interrupted"), 0);
        assert!(pipe.is_some(), "it is still open");
        assert_eq!(read_from(&mut pipe, &mut said).expect("it can be read"), 4);
        assert_eq!(said, b"said");
    }
}
