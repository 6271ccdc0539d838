//! A process that may do anything: crash, hang, print without end, close its descriptors, leave children. One thread of the host
//! listens to it, and waits for nothing longer than until the deadline.

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
    time::{Duration, Instant},
};

/// As much of what it prints is kept.
const LAST_WORDS: usize = 4 << 10;
/// A line that is longer is none of ours.
const LONGEST_LINE: usize = 1 << 20;
/// Read from a pipe whose process has ended, at most: a child of it may go on to write there.
const MOST_DRAINED: usize = 1 << 20;
/// Where the kernel does not tell of the end of a process (before Linux 5.3), it is asked in this interval.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// What was heard of it.
pub(super) enum Heard {
    /// A line, without its end.
    Line(Vec<u8>),
    /// More than any line has.
    TooMuch,
    /// It has ended.
    Ended(ExitStatus),
    /// The deadline is over.
    Late,
}

/// The process, its group, and the pipes to it. Dropping it kills the group and reaps the process.
pub(super) struct PreflightChild {
    child: Child,
    group: Option<Pid>,
    /// Readable once the process has ended.
    end: Option<OwnedFd>,
    words: Option<ChildStdout>,
    prints: Option<ChildStderr>,
    /// Of the words, what has not been taken as a line.
    heard: Vec<u8>,
    printed: Vec<u8>,
    over: bool,
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
        let end = group.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let (words, prints) = (child.stdout.take(), child.stderr.take());
        Ok(Self {
            child,
            group,
            end,
            words,
            prints,
            heard: Vec::new(),
            printed: Vec::new(),
            over: false,
        })
    }

    /// Waits for the next thing. Its lines come before its end, and its end before the deadline.
    pub(super) fn next(&mut self, deadline: Option<Instant>) -> io::Result<Heard> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let rest = self.heard.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.heard, rest);
                line.pop();
                return Ok(Heard::Line(line));
            }
            if self.heard.len() > LONGEST_LINE {
                return Ok(Heard::TooMuch);
            }
            if self.over {
                return self.end().map(Heard::Ended);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let ended = self.listen(left)?;
            if ended {
                self.drain()?;
                self.over = true;
            } else if left == Some(Duration::ZERO) && !self.heard.contains(&b'\n') {
                // What it has printed last is still in the pipe. Only once it cannot print any more has that an end, and without a
                // status nothing is lost: it is late in any case.
                let _ = self.end();
                self.drain()?;
                return Ok(Heard::Late);
            }
        }
    }

    /// The end of what it has printed.
    pub(super) fn last_words(&self) -> String {
        let mut words = &self.printed[self.printed.len().saturating_sub(LAST_WORDS)..];
        // The cut may have gone through a letter.
        if self.printed.len() > LAST_WORDS {
            while let [0x80..0xc0, rest @ ..] = words {
                words = rest;
            }
        }
        String::from_utf8_lossy(words).into_owned()
    }

    /// Kills what is left of its group and reaps it. In this order: as long as it is not reaped, nobody else can have its number.
    pub(super) fn end(&mut self) -> io::Result<ExitStatus> {
        if let Some(group) = self.group.take() {
            // An error says that nobody is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.child.wait()
    }

    /// Waits until there is something to read, reads it, and answers whether the process has ended.
    fn listen(&mut self, left: Option<Duration>) -> io::Result<bool> {
        let wait = match &self.end {
            Some(_) => left,
            None => Some(left.map_or(ASK_AGAIN, |left| left.min(ASK_AGAIN))),
        };
        let ready = self.wait(wait)?;
        if ready {
            self.read()?;
        }
        match (&self.end, self.group) {
            (Some(end), _) => Ok(is_ready(end, Some(Duration::ZERO))?),
            (None, Some(pid)) => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
                match waitid(WaitId::Pid(pid), options) {
                    Ok(status) => Ok(status.is_some()),
                    // The host's program lets its children be reaped by the kernel.
                    Err(Errno::CHILD) => Ok(true),
                    Err(error) => Err(error.into()),
                }
            }
            (None, None) => Ok(true),
        }
    }

    /// Waits for anything to happen; the answer is whether there is something to read.
    fn wait(&self, left: Option<Duration>) -> io::Result<bool> {
        let mut all = Vec::with_capacity(3);
        all.extend(self.words.as_ref().map(|words| PollFd::new(words, PollFlags::IN)));
        all.extend(self.prints.as_ref().map(|prints| PollFd::new(prints, PollFlags::IN)));
        let pipes = all.len();
        all.extend(self.end.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
        wait_for(&mut all, left)?;
        Ok(all[..pipes].iter().any(|one| !one.revents().is_empty()))
    }

    fn is_there_more(&self) -> io::Result<bool> {
        let words = self.words.as_ref().map(AsFd::as_fd);
        let prints = self.prints.as_ref().map(AsFd::as_fd);
        for pipe in words.into_iter().chain(prints) {
            if is_ready(&pipe, Some(Duration::ZERO))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads what the pipes hold after the end of the process.
    fn drain(&mut self) -> io::Result<()> {
        let mut drained = 0;
        while drained < MOST_DRAINED && self.is_there_more()? {
            drained += self.read()?;
        }
        Ok(())
    }

    /// Reads once from each pipe that has something; one whose other end is closed is let go. The answer is how much it was.
    fn read(&mut self) -> io::Result<usize> {
        let words = read_from(&mut self.words, &mut self.heard)?;
        let prints = read_from(&mut self.prints, &mut self.printed)?;
        if self.printed.len() > 8 * LAST_WORDS {
            self.printed.drain(..self.printed.len() - LAST_WORDS);
        }
        Ok(words + prints)
    }
}

impl Drop for PreflightChild {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn read_from<Pipe: Read + AsFd>(from: &mut Option<Pipe>, into: &mut Vec<u8>) -> io::Result<usize> {
    let Some(pipe) = from else {
        return Ok(0);
    };
    if !is_ready(pipe, Some(Duration::ZERO))? {
        return Ok(0);
    }
    let mut buffer = [0; 16 << 10];
    // The pipe has something, so this does not wait.
    let read = pipe.read(&mut buffer)?;
    into.extend_from_slice(&buffer[..read]);
    if read == 0 {
        *from = None;
    }
    Ok(read)
}

fn is_ready(one: &impl AsFd, left: Option<Duration>) -> io::Result<bool> {
    let mut one = [PollFd::new(one, PollFlags::IN)];
    wait_for(&mut one, left)?;
    Ok(!one[0].revents().is_empty())
}

fn wait_for(all: &mut [PollFd<'_>], left: Option<Duration>) -> io::Result<()> {
    // A time that the kernel cannot count is for ever.
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(all, left.as_ref()) {
        // A signal of the host's: whoever waits looks at the clock again.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
