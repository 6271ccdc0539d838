//! Traces a process and all its threads: it sees each system call before and after it is made, whoever makes it (std, libc, the loader, a
//! dependency with inline assembly), can have one answer an error, end the process right after it, or stop the process in the middle of it.
//!
//! Why `ptrace`: a preloaded library sees only calls that go through libc's public symbols, and the loader and libc call the kernel
//! themselves. A seccomp filter sees all of them, but it cannot stop a process, and cannot be told where the reload begins.
//!
//! The process says where it is with SIGUSR1 to itself, which only the tracer sees. Before the first mark and after the second it runs
//! freely.

use super::{
    calls::{Call, Trouble},
    place::STARTING,
};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    mem::{size_of, zeroed},
    process::{Command, Stdio},
    sync::{
        PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// One call of a reload: the `nth` of its kind that threads of this name make.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Point {
    pub thread: String,
    pub call: &'static str,
    pub nth: usize,
}

/// What is done to the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// All calls are recorded.
    Record,
    /// The call at the point is disturbed.
    Disturb(Point, Trouble),
    /// SIGKILL after the call at the point.
    Kill(Point),
    /// SIGSTOP in the middle of the call at the point, and SIGCONT after this time.
    Stop(Point, Duration),
}

impl Deed {
    /// The call that it is about.
    pub fn point(&self) -> Option<&Point> {
        match self {
            Self::Record => None,
            Self::Disturb(point, _) | Self::Kill(point) | Self::Stop(point, _) => Some(point),
        }
    }
}

/// A call that was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    pub point: Point,
    pub call: Call,
    /// The file that it is about.
    pub about: String,
}

/// How the process ended, and what was seen of it.
#[derive(Debug)]
pub struct Traced {
    pub end: End,
    /// With [`Deed::Record`]: the calls between the marks.
    pub seen: Vec<Seen>,
    /// How many calls of other kinds there were between the marks, by their numbers. They are never disturbed.
    pub others: BTreeMap<i64, usize>,
    /// The call that was reached, if it was.
    pub reached: Option<Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Exit(i32),
    Signal(i32),
    /// It did not end by itself in this time, and was killed.
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    Between,
    After,
}

struct Task {
    name: String,
    /// It is the process itself, or a thread of it, and no child.
    is_own: bool,
    /// The call in which it is.
    within: Option<Within>,
    /// It was asked to stop, so that its calls are seen from then on.
    is_called: bool,
}

struct Within {
    call: Call,
    is_disturbed: Option<Trouble>,
    is_last: bool,
}

struct Tracer<'a> {
    process: i32,
    deed: &'a Deed,
    tasks: BTreeMap<i32, Task>,
    part: Part,
    /// Threads whose calls are not looked at: they call the plugin and nothing else.
    free: &'a str,
    counts: BTreeMap<(String, &'static str), usize>,
    traced: Traced,
    /// The thread that waits at the first mark until all threads are seen.
    waiting: Option<i32>,
    marks: usize,
}

/// Runs the command and traces it. `at_mark` is called at each mark of the process, which waits for it. Threads of the name `free` are left
/// alone.
pub fn trace(
    command: &mut Command,
    deed: &Deed,
    free: &str,
    limit: Duration,
    mut at_mark: impl FnMut(usize),
) -> io::Result<Traced> {
    let mut child = {
        let _no_publishing = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        command.stdin(Stdio::piped()).spawn()?
    };
    let process = child.id().cast_signed();
    match seize(process).and_then(|()| child.stdin.take().expect("it is piped").write_all(b"\n")) {
        Ok(()) => {}
        Err(error) => {
            // Without its tracer it would run freely.
            let ended = child.try_wait();
            let _ = child.kill();
            let _ = child.wait();
            return Err(match ended {
                Ok(Some(status)) => io::Error::other(format!("the process ended ({status}) before it could be traced")),
                _ => error,
            });
        }
    }

    let (ended, watched) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        let over = matches!(watched.recv_timeout(limit), Err(RecvTimeoutError::Timeout));
        if over {
            kill(process, libc::SIGKILL);
        }
        over
    });
    let mut tracer = Tracer {
        process,
        deed,
        tasks: BTreeMap::new(),
        part: Part::Before,
        free,
        counts: BTreeMap::new(),
        traced: Traced {
            end: End::TooLong,
            seen: Vec::new(),
            others: BTreeMap::new(),
            reached: None,
        },
        waiting: None,
        marks: 0,
    };
    tracer.add(process);
    let end = tracer.run(&mut at_mark);
    if end.is_err() {
        // Whatever it was, nobody would let its threads go on.
        kill(process, libc::SIGKILL);
    }
    drop(ended);
    let too_long = guard.join().expect("it does not panic");
    tracer.traced.end = if too_long { End::TooLong } else { end? };
    Ok(tracer.traced)
}

/// Begins to trace. The process waits for a line on its standard input before it starts its first thread.
fn seize(process: i32) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    let answer = ptrace(libc::PTRACE_SEIZE, process, 0, options as u64);
    answer.map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => io::Error::new(
            error.kind(),
            format!(
                "ptrace is not permitted here ({error}). In a container, allow the capability SYS_PTRACE or the system call; elsewhere, \
                 set kernel.yama.ptrace_scope to 0 or 1, and run it under no debugger"
            ),
        ),
        _ => error,
    })
}

impl Tracer<'_> {
    fn run(&mut self, at_mark: &mut dyn FnMut(usize)) -> io::Result<End> {
        loop {
            let (tid, status) = wait()?;
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.tasks.remove(&tid);
                if tid == self.process {
                    return Ok(match libc::WIFEXITED(status) {
                        true => End::Exit(libc::WEXITSTATUS(status)),
                        false => End::Signal(libc::WTERMSIG(status)),
                    });
                }
                self.all_called(at_mark);
                continue;
            }
            self.add(tid);
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            match (signal, event) {
                (_, libc::PTRACE_EVENT_EXEC) => {
                    let name = name_of(tid);
                    if let Some(task) = self.tasks.get_mut(&tid) {
                        (task.name, task.within) = (name, None);
                    }
                    self.go_on(tid, 0);
                }
                (libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, libc::PTRACE_EVENT_STOP) => {
                    // The whole process is stopped: this thread waits with the others for SIGCONT.
                    resume(libc::PTRACE_LISTEN, tid, 0);
                }
                (_, libc::PTRACE_EVENT_STOP) => {
                    if let Some(task) = self.tasks.get_mut(&tid) {
                        task.is_called = false;
                    }
                    self.go_on(tid, 0);
                    self.all_called(at_mark);
                }
                (_, event) if event != 0 => self.go_on(tid, 0),
                (signal, _) if signal == libc::SIGTRAP | 0x80 => {
                    self.call(tid);
                    self.go_on(tid, 0);
                }
                (libc::SIGUSR1, _) if self.tasks[&tid].is_own => self.mark(tid, at_mark),
                (signal, _) => self.go_on(tid, signal),
            }
        }
    }

    fn add(&mut self, tid: i32) {
        let process = self.process;
        self.tasks.entry(tid).or_insert_with(|| Task {
            name: name_of(tid),
            is_own: group_of(tid) == Some(process),
            within: None,
            is_called: false,
        });
    }

    fn go_on(&self, tid: i32, signal: i32) {
        let free = self.tasks.get(&tid).is_some_and(|task| task.name == self.free);
        let request = match self.part {
            Part::Between if !free => libc::PTRACE_SYSCALL,
            _ => libc::PTRACE_CONT,
        };
        resume(request, tid, signal as u64);
    }

    /// The process has come to a mark, on this thread.
    fn mark(&mut self, tid: i32, at_mark: &mut dyn FnMut(usize)) {
        self.marks += 1;
        match self.marks {
            1 => {
                self.part = Part::Between;
                self.waiting = Some(tid);
                for (other, task) in &mut self.tasks {
                    task.name = name_of(*other);
                    if *other != tid && task.name != self.free {
                        // A thread that has just ended cannot be stopped, and its end is reported.
                        task.is_called = ptrace(libc::PTRACE_INTERRUPT, *other, 0, 0).is_ok();
                    }
                }
                self.all_called(at_mark);
            }
            mark => {
                self.part = Part::After;
                at_mark(mark);
                self.go_on(tid, 0);
            }
        }
    }

    /// Once the calls of all threads are seen, the first mark is over.
    fn all_called(&mut self, at_mark: &mut dyn FnMut(usize)) {
        if self.tasks.values().any(|task| task.is_called) {
            return;
        }
        if let Some(tid) = self.waiting.take() {
            at_mark(1);
            self.go_on(tid, 0);
        }
    }

    /// A thread is at the beginning or the end of a call.
    fn call(&mut self, tid: i32) {
        let Ok(stop) = call_stop(tid) else { return };
        match stop {
            CallStop::Entry(call) => self.entry(tid, call),
            CallStop::Exit => {
                let within = self.tasks.get_mut(&tid).and_then(|task| task.within.take());
                let Some(Within {
                    call,
                    is_disturbed,
                    is_last,
                }) = within
                else {
                    return;
                };
                if let Some(Trouble::Error(error) | Trouble::ErrorAfter(error)) = is_disturbed {
                    set_register(tid, ANSWER, i64::from(-error).cast_unsigned());
                }
                if is_last {
                    kill(self.process, libc::SIGKILL);
                }
                if call.number == libc::SYS_prctl && call.arguments[0] == libc::PR_SET_NAME as u64 {
                    let name = name_of(tid);
                    if let Some(task) = self.tasks.get_mut(&tid) {
                        task.name = name;
                    }
                }
            }
        }
    }

    fn entry(&mut self, tid: i32, call: Call) {
        let Some(task) = self.tasks.get_mut(&tid) else { return };
        task.within = Some(Within {
            call,
            is_disturbed: None,
            is_last: false,
        });
        if self.part != Part::Between {
            return;
        }
        let Some(name) = call.name().filter(|_| !call.troubles().is_empty()) else {
            *self.traced.others.entry(call.number).or_default() += 1;
            return;
        };
        let thread = match task.is_own {
            true => task.name.clone(),
            false => format!("child {}", task.name),
        };
        let count = self.counts.entry((thread.clone(), name)).or_default();
        let point = Point {
            thread,
            call: name,
            nth: *count,
        };
        *count += 1;
        let seen = |point| Seen {
            point,
            call,
            about: call.about(tid),
        };
        if *self.deed == Deed::Record {
            self.traced.seen.push(seen(point));
            return;
        }
        if self.deed.point() != Some(&point) {
            return;
        }
        self.traced.reached = Some(seen(point));
        let within = task.within.as_mut().expect("it was set above");
        match self.deed {
            Deed::Record => {}
            Deed::Disturb(_, trouble) => {
                within.is_disturbed = Some(*trouble);
                match trouble {
                    // No call has this number, so the kernel does nothing.
                    Trouble::Error(_) => set_register(tid, NUMBER, u64::MAX),
                    Trouble::ErrorAfter(_) => {}
                    Trouble::Half => set_register(tid, THIRD, (call.arguments[2] / 2).max(1)),
                }
            }
            Deed::Kill(_) => within.is_last = true,
            Deed::Stop(_, time) => {
                let (process, time) = (self.process, *time);
                kill(process, libc::SIGSTOP);
                thread::spawn(move || {
                    thread::sleep(time);
                    kill(process, libc::SIGCONT);
                });
            }
        }
    }
}

fn name_of(tid: i32) -> String {
    fs::read_to_string(format!("/proc/{tid}/comm")).map_or_else(|_| String::new(), |name| name.trim_end().to_owned())
}

fn group_of(tid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())
}

enum CallStop {
    Entry(Call),
    Exit,
}

fn call_stop(tid: i32) -> io::Result<CallStop> {
    // SAFETY: the type is plain data, for which all-zero is a value.
    let mut info: libc::ptrace_syscall_info = unsafe { zeroed() };
    ptrace(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size_of::<libc::ptrace_syscall_info>() as u64,
        (&raw mut info).addr() as u64,
    )?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(CallStop::Exit);
    }
    // SAFETY: the kernel has written this member, because `op` says so.
    let entry = unsafe { info.u.entry };
    Ok(CallStop::Entry(Call {
        number: entry.nr.cast_signed(),
        arguments: entry.args,
    }))
}

/// Offsets in the kernel's `struct user`.
#[cfg(target_arch = "x86_64")]
const NUMBER: u64 = 15 * 8;
#[cfg(target_arch = "x86_64")]
const ANSWER: u64 = 10 * 8;
#[cfg(target_arch = "x86_64")]
const THIRD: u64 = 12 * 8;

fn set_register(tid: i32, register: u64, value: u64) {
    // If the thread was killed meanwhile, there is nothing to disturb.
    let _ = ptrace(libc::PTRACE_POKEUSER, tid, register, value);
}

fn resume(request: u32, tid: i32, signal: u64) {
    // As above: its end is reported next.
    let _ = ptrace(request, tid, 0, signal);
}

fn ptrace(request: u32, tid: i32, address: u64, data: u64) -> io::Result<()> {
    // SAFETY: of the requests that are used here, only the one for a call's information writes memory of this process: as many bytes as
    // `address` says, to `data`, which is a value of that size. The others read and write the traced process.
    let answer = unsafe { libc::ptrace(request, tid, address as *mut libc::c_void, data as *mut libc::c_void) };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn kill(process: i32, signal: i32) {
    // SAFETY: it accesses no memory.
    unsafe { libc::kill(process, signal) };
}

/// Waits for a child or traced thread of this thread, not for those of other threads.
fn wait() -> io::Result<(i32, i32)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
        match tid {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            tid => return Ok((tid, status)),
        }
    }
}
